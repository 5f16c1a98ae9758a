//! The rivals that need more than a line.

pub(crate) mod bare;
pub(crate) mod channels;
pub(crate) mod exchange;
pub(crate) mod gang;
pub(crate) mod hand_over;
pub(crate) mod iceoryx;
pub(crate) mod inherit;
pub(crate) mod one_way;
pub(crate) mod partner;
pub(crate) mod processes;
pub(crate) mod python;
pub(crate) mod streams;

use exchange::Message;

/// Serves as the other side of one of them; `None` if there is none of that name.
pub(crate) fn serve(name: &str) -> Option<()> {
    let (peer, rest) = name.split_once('/')?;
    match peer {
        "bare" => bare::serve(Message::parse(rest)?),
        "streams" => streams::serve(Message::parse(rest)?),
        "channels" => {
            // It ends when the parent does.
            let _ = channels::serve(rest);
        }
        "iceoryx" => {
            let _ = iceoryx::serve(rest);
        }
        "one_way_channel" => {
            let _ = one_way::channel::serve(rest);
        }
        "one_way_iceoryx" => {
            let _ = one_way::iceoryx::serve(rest);
        }
        _ => return None,
    }
    Some(())
}
