use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn conditions() -> impl Strategy<Value = Condition> {
    prop::sample::select(&Condition::ALL[..])
}

fn texts() -> impl Strategy<Value = String> {
    ".{0,20}"
}

fn items() -> impl Strategy<Value = Item> {
    let process = (any::<u64>(), texts()).prop_map(|(pid, name)| RecordedOwner { pid, name });
    let figures = vec(prop::option::of(prop::option::of(0..=GREATEST)), FIGURES.len()).prop_map(|figures| {
        figures.into_iter().enumerate().filter_map(|(figure, changed)| Some((figure, changed?))).collect()
    });
    prop_oneof![
        (any::<u64>(), any::<u64>(), texts(), vec(process, 0..3))
            .prop_map(|(number, namespace, address, owners)| Item::Listener { number, namespace, address, owners }),
        (any::<u64>(), figures).prop_map(|(number, changed)| Item::Figures { number, changed }),
        any::<u64>().prop_map(|number| Item::Unread { number }),
        (any::<u64>(), conditions(), any::<u64>()).prop_map(|(number, condition, held_ms)| Item::Raised {
            number,
            condition,
            held_ms
        }),
        (any::<u64>(), conditions(), any::<u64>()).prop_map(|(number, condition, lasted_ms)| Item::Cleared {
            number,
            condition,
            lasted_ms
        }),
        any::<u64>().prop_map(|number| Item::Gone { number }),
        texts().prop_map(Item::Unreadable),
        any::<u64>().prop_map(|epoch_ms| Item::Clock { epoch_ms }),
    ]
}

pub(crate) fn entries() -> impl Strategy<Value = Entry> {
    prop_oneof![
        (any::<u64>(), any::<u64>(), texts(), texts(), texts()).prop_map(
            |(epoch_ms, interval_ms, version, host, scope)| Entry::Begun {
                epoch_ms,
                interval_ms,
                version,
                host,
                scope
            }
        ),
        (any::<u64>(), any::<u64>(), vec(items(), 0..6)).prop_map(|(at_ms, quiet, items)| Entry::Sample(SampleEntry {
            at_ms,
            quiet,
            items
        })),
        (any::<u64>(), texts()).prop_map(|(at_ms, why)| Entry::Ended { at_ms, why }),
    ]
}

fn written(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    entries.iter().for_each(|entry| entry.write(&mut bytes));
    bytes
}

fn read(bytes: &[u8]) -> (Vec<Entry>, u64) {
    let mut reading = EntryReader::new(bytes);
    let entries = std::iter::from_fn(|| reading.next().expect("memory can be read")).collect();
    (entries, reading.whole() - MAGIC.len() as u64)
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in vec(entries(), 0..5)) {
        let bytes = written(&entries);
        prop_assert_eq!(read(&bytes), (entries, bytes.len() as u64));
    }

    #[test]
    fn any_bytes_are_an_entry_or_malformed(bytes in vec(any::<u8>(), 0..200), kind in 0u8..5) {
        let _ = Entry::read(&bytes);
        let _ = Entry::read(&[&[kind][..], &bytes].concat());
    }

    #[test]
    fn a_bit_that_flips_is_noticed(entry in entries(), bit in any::<prop::sample::Index>()) {
        let mut bytes = written(&[entry]);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(read(&bytes), (vec![], 0));
    }
}

fn some() -> Vec<Entry> {
    let sample = |at_ms, items| Entry::Sample(SampleEntry { at_ms, quiet: 3, items });
    vec![
        Entry::Begun {
            epoch_ms: 1_764_000_000_000,
            interval_ms: 100,
            version: "0.1.0".into(),
            host: "h".into(),
            scope: "every BEAM".into(),
        },
        sample(
            0,
            vec![Item::Listener {
                number: 0,
                namespace: 4_026_531_840,
                address: "0.0.0.0:8080".into(),
                owners: vec![RecordedOwner { pid: 4711, name: "shop@host".into() }],
            }],
        ),
        sample(300, vec![Item::Figures { number: 0, changed: vec![(0, Some(31)), (8, None), (11, Some(GREATEST))] }]),
        Entry::Ended { at_ms: 400, why: "interrupted".into() },
    ]
}

#[test]
fn a_tail_that_is_torn_at_any_byte_loses_what_was_not_whole_and_no_more() {
    let entries = some();
    let ends: Vec<_> = (0..=entries.len()).map(|count| written(&entries[..count]).len()).collect();
    let bytes = written(&entries);
    for torn in 0..=bytes.len() {
        let whole = ends.iter().filter(|end| **end <= torn).count() - 1;
        assert_eq!(read(&bytes[..torn]), (entries[..whole].to_vec(), ends[whole] as u64), "torn at {torn}");
        assert!(is_torn(&bytes[ends[whole]..torn]), "torn at {torn}");
        // What a file system had no time for.
        let zeros = [&bytes[..torn], &[0; 20]].concat();
        assert_eq!(read(&zeros).0.len(), whole, "zeros from {torn}");
    }
}

#[test]
fn what_has_whole_frames_behind_the_damage_is_not_torn() {
    let mut bytes = written(&some());
    bytes[HEAD] ^= 1;
    assert!(!is_torn(&bytes));
    assert!(!is_torn(&[1; HEAD + LARGEST]), "more than a frame");
    assert!(is_torn(&[0; 4 * LARGEST]), "room that was never written to");
}

#[test]
fn a_sample_that_is_too_large_for_a_frame_goes_on_in_the_next() {
    let items: Vec<_> = (0..3000)
        .map(|number| Item::Listener { number, namespace: 1, address: "x".repeat(50), owners: vec![] })
        .collect();
    let bytes = written(&[Entry::Sample(SampleEntry { at_ms: 7, quiet: 2, items: items.clone() })]);
    let (entries, whole) = read(&bytes);
    assert_eq!(whole, bytes.len() as u64);
    let samples: Vec<_> = entries
        .into_iter()
        .map(|entry| match entry {
            Entry::Sample(sample) => sample,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(samples.len() > 1 && samples.iter().all(|sample| sample.at_ms == 7));
    assert_eq!(samples.iter().map(|sample| sample.quiet).sum::<u64>(), 2, "counted once");
    assert_eq!(samples.into_iter().flat_map(|sample| sample.items).collect::<Vec<_>>(), items);
}

#[test]
fn these_are_the_bytes_of_the_documentation() {
    let sample = Entry::Sample(SampleEntry {
        at_ms: 300,
        quiet: 2,
        items: vec![Item::Figures { number: 0, changed: vec![(0, Some(31)), (8, None)] }],
    });
    let bytes = [10, 0, 0, 0, 0x7e, 0x5f, 0x78, 0xbe, 2, 0xac, 0x02, 2, 2, 0, 0x81, 0x02, 32, 0];
    assert_eq!(written(&[sample]), bytes);
}
