//! What a worker says through `tracing`, as it crosses a pipe.
//!
//! ```text
//! 0      2      3       4      8      16      24     32
//! | size | kind | level | line | work | span  | in   | lost | texts, each: size (2), bytes
//! |      |      |       |      |      |       |      | 4    |
//! texts: target, name, file, then the name and the value of each field; a value that is still to
//! come has size 65535 and no bytes
//! ```
//! At most 4 KiB, the most that a pipe takes in one piece from several writers: so a worker that
//! dies leaves whole messages only. Reading is total: any bytes give messages or the end.

/// The longest message.
pub(crate) const LONGEST: usize = 4096;
/// The most fields that cross.
pub(crate) const FIELDS: usize = 24;
/// The parent of what asked for none.
pub(crate) const NOWHERE: u64 = u64::MAX;
const HEAD: usize = 36;
/// The size of a value that is not there.
const NOTHING: u16 = u16::MAX;
/// What a name may take, so that something is left for values.
const NAME: usize = 128;
/// What a target, a name and a file may take.
const PLACE: usize = 256;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Event,
    /// A span began.
    Open,
    /// A span has more fields.
    Record,
    /// A span has ended.
    Close,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    /// 1 for errors to 5 for traces.
    pub(crate) level: u8,
    /// 0 if it is not known.
    pub(crate) line: u32,
    /// The bits of the [`Work`](super::gauge::Work) that it belongs to.
    pub(crate) work: u64,
    /// The span that began, was added to or has ended.
    pub(crate) span: u64,
    /// The span that it is in; 0 for none, [`NOWHERE`] for none on purpose.
    pub(crate) parent: u64,
    /// How many messages before it found no room.
    pub(crate) lost: u32,
    pub(crate) target: String,
    pub(crate) name: String,
    pub(crate) file: String,
    /// By name; without a value if it is still to come.
    pub(crate) fields: Vec<(String, Option<String>)>,
}

impl Message {
    /// Its bytes; what is too long is cut.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend([0, 0, self.kind as u8, self.level]);
        bytes.extend(self.line.to_le_bytes());
        for word in [self.work, self.span, self.parent] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.lost.to_le_bytes());
        for text in [&self.target, &self.name, &self.file] {
            push(&mut bytes, text, PLACE);
        }
        for (name, value) in self.fields.iter().take(FIELDS) {
            if LONGEST - bytes.len() < NAME + 4 {
                break;
            }
            push(&mut bytes, name, NAME);
            let room = LONGEST - bytes.len() - 2;
            match value {
                Some(value) => push(&mut bytes, value, room),
                None => bytes.extend(NOTHING.to_le_bytes()),
            }
        }
        let size = (bytes.len() as u16).to_le_bytes();
        bytes[..2].copy_from_slice(&size);
        bytes
    }

    /// The message that `bytes` begin with, and its size; `None` if it is not all there.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Nonsense> {
        let Some(&size) = bytes.first_chunk() else {
            return Ok(None);
        };
        let size = usize::from(u16::from_le_bytes(size));
        if !(HEAD..=LONGEST).contains(&size) {
            return Err(Nonsense);
        }
        let Some(bytes) = bytes.get(..size) else {
            return Ok(None);
        };
        let mut rest = Rest(&bytes[2..]);
        let [kind, level] = rest.take().ok_or(Nonsense)?;
        let kind = match kind {
            0 => Kind::Event,
            1 => Kind::Open,
            2 => Kind::Record,
            3 => Kind::Close,
            _ => return Err(Nonsense),
        };
        if !(1..=5).contains(&level) {
            return Err(Nonsense);
        }
        let mut message = Self {
            kind,
            level,
            line: u32::from_le_bytes(rest.take().ok_or(Nonsense)?),
            work: u64::from_le_bytes(rest.take().ok_or(Nonsense)?),
            span: u64::from_le_bytes(rest.take().ok_or(Nonsense)?),
            parent: u64::from_le_bytes(rest.take().ok_or(Nonsense)?),
            lost: u32::from_le_bytes(rest.take().ok_or(Nonsense)?),
            target: rest.text()?,
            name: rest.text()?,
            file: rest.text()?,
            fields: Vec::new(),
        };
        while !rest.0.is_empty() {
            if message.fields.len() == FIELDS {
                return Err(Nonsense);
            }
            message.fields.push((rest.text()?, rest.value()?));
        }
        Ok(Some((message, size)))
    }
}

/// Bytes that no message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nonsense;

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (&taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(taken)
    }

    fn value(&mut self) -> Result<Option<String>, Nonsense> {
        match self.0.strip_prefix(&NOTHING.to_le_bytes()) {
            Some(rest) => {
                self.0 = rest;
                Ok(None)
            }
            None => self.text().map(Some),
        }
    }

    fn text(&mut self) -> Result<String, Nonsense> {
        let size = u16::from_le_bytes(self.take().ok_or(Nonsense)?);
        let (text, rest) = self.0.split_at_checked(size.into()).ok_or(Nonsense)?;
        self.0 = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}

fn push(bytes: &mut Vec<u8>, text: &str, most: usize) {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message() -> impl Strategy<Value = Message> {
        let kinds = [Kind::Event, Kind::Open, Kind::Record, Kind::Close];
        let texts = (".{0,40}", ".{0,40}", ".{0,40}");
        let fields = proptest::collection::vec((".{0,20}", proptest::option::of(".{0,60}")), 0..5);
        let numbers: [BoxedStrategy<u64>; 3] = std::array::from_fn(|_| any::<u64>().boxed());
        (
            0..4_usize,
            1..6_u8,
            any::<u32>(),
            numbers,
            any::<u32>(),
            texts,
            fields,
        )
            .prop_map(
                move |(kind, level, line, [work, span, parent], lost, texts, fields)| Message {
                    kind: kinds[kind],
                    level,
                    line,
                    work,
                    span,
                    parent,
                    lost,
                    target: texts.0,
                    name: texts.1,
                    file: texts.2,
                    fields,
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(message in message(), more in any::<[u8; 3]>()) {
            let mut bytes = message.encode();
            let size = bytes.len();
            for end in 0..size {
                prop_assert_eq!(Message::decode(&bytes[..end]), Ok(None));
            }
            bytes.extend(more);
            prop_assert_eq!(Message::decode(&bytes), Ok(Some((message, size))));
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>, kind in 0..5_u8, level in 0..7_u8) {
            let _ = Message::decode(&bytes);
            let size = (bytes.len() as u16 + 4).to_le_bytes();
            let framed = [&size[..], &[kind, level], &bytes].concat();
            if let Ok(Some((_, used))) = Message::decode(&framed) {
                prop_assert_eq!(used, framed.len());
            }
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_still_a_message() {
        let long = "ü".repeat(5000);
        let fields = (0..40)
            .map(|_| (long.clone(), Some(long.clone())))
            .collect();
        let message = Message {
            kind: Kind::Event,
            level: 3,
            line: 1,
            work: 0,
            span: 0,
            parent: 0,
            lost: 0,
            target: long.clone(),
            name: long.clone(),
            file: long.clone(),
            fields,
        };
        let bytes = message.encode();
        assert!(bytes.len() <= LONGEST);
        let (read, size) = Message::decode(&bytes).unwrap().unwrap();
        assert_eq!(size, bytes.len());
        assert!(long.starts_with(&read.target) && read.target.len() == PLACE);
        assert!(long.starts_with(read.fields[0].1.as_ref().unwrap()));
    }
}
