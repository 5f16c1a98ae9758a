//! What one side writes the other reads, and nothing else is believed.

use super::*;

fn sealed<A: Payload>(arguments: &A, name: &str) -> Envelope {
    let order = Order {
        function: FunctionId::from_bits(0x1234),
        runtime: None,
        name,
    };
    Envelope::seal(&order, &ImageId::current(), arguments).expect("there is memory")
}

fn opened(envelope: &Envelope) -> Result<Opened, Refusal> {
    let file = envelope.fd().try_clone_to_owned().expect("a descriptor");
    Opened::open(&file, &ImageId::current()).expect("it can be mapped")
}

#[test]
fn a_letter_and_its_answer_arrive() {
    for count in [0_usize, 1, 5000, 700_000] {
        let arguments: Vec<u64> = (0..count as u64).collect();
        let envelope = sealed(&arguments, "a name longer than fits");
        let there = opened(&envelope).expect("it is ours");
        assert_eq!(there.name(), "a name longer t");
        assert_eq!(there.function().to_bits(), 0x1234);
        #[cfg(feature = "tokio")]
        assert_eq!(there.runtime(), None);
        let seen = archive::access::<Vec<u64>>(there.arguments()).expect("an archive");
        assert!(seen.iter().zip(&arguments).all(|(a, b)| a == b) && seen.len() == count);
        assert_eq!(envelope.verdict(), Verdict::Silent);
        let verdict = there.write(&arguments).expect("an archive");
        there.conclude(&verdict);
        let Verdict::Returned { size } = envelope.verdict() else {
            panic!("{:?}", envelope.verdict());
        };
        let enclosure = envelope.into_enclosure(size).expect("mapped");
        let enclosure = enclosure.expect("it was written");
        let seen = archive::access::<Vec<u64>>(enclosure.bytes()).expect("an archive");
        assert!(seen.iter().zip(&arguments).all(|(a, b)| a == b) && seen.len() == count);
    }
}

#[test]
fn each_verdict_is_read_as_it_was_written() {
    let report = PanicReport {
        message: "no".into(),
        ..PanicReport::default()
    };
    let verdicts = [
        Verdict::Returned { size: 7 },
        Verdict::Panicked(report),
        Verdict::BadArguments,
        Verdict::TooLarge,
        Verdict::Unserialised("why".into()),
        Verdict::NoRoom {
            wanted: 9,
            available: 3,
        },
        Verdict::Refused(Refusal::Magic),
        Verdict::Refused(Refusal::Layout),
        Verdict::Refused(Refusal::Image),
    ];
    let envelope = sealed(&(), "");
    let there = opened(&envelope).expect("it is ours");
    for verdict in verdicts {
        there.conclude(&verdict);
        assert_eq!(envelope.verdict(), verdict);
    }
    ending(&there.mapping)
        .verdict
        .store(u64::MAX, Ordering::Relaxed);
    assert_eq!(envelope.verdict(), Verdict::Nonsense);
}

#[test]
fn what_the_process_claims_is_not_believed() {
    for size in [1 << 40, u64::MAX, ROOM as u64] {
        let envelope = sealed(&(), "");
        assert!(
            envelope
                .into_enclosure(size)
                .expect("no call fails")
                .is_none()
        );
    }
}

#[test]
fn another_program_or_another_file_is_refused() {
    type Spoil = fn(&Head);
    let damage: [(Spoil, Refusal); 4] = [
        (
            |head| head.magic.store(1, Ordering::Relaxed),
            Refusal::Magic,
        ),
        (
            |head| head.layout.store(1, Ordering::Relaxed),
            Refusal::Layout,
        ),
        (
            |head| head.arguments_size.store(u64::MAX, Ordering::Relaxed),
            Refusal::Layout,
        ),
        (
            |head| head.image[2].store(1, Ordering::Relaxed),
            Refusal::Image,
        ),
    ];
    for (spoil, refusal) in damage {
        let envelope = sealed(&1_u64, "");
        spoil(head(&envelope.mapping));
        assert_eq!(opened(&envelope).unwrap_err(), refusal);
        assert_eq!(envelope.verdict(), Verdict::Refused(refusal));
    }
    let other = memfd::create(HUGE_PAGE_BYTES as u64).expect("a file");
    let refused = Opened::open(&other, &ImageId::current()).expect("it can be mapped");
    assert_eq!(refused.unwrap_err(), Refusal::Magic);
}
