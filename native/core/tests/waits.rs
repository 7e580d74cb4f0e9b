//! The histogram of waits: its buckets, its figures, and what is forgotten.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use accept_queue_core::reading::waits::{BUCKETS_MS, Histogram, Histograms, Waits, bucket_of};
use accept_queue_core::{Cookie, Sum};
use proptest::prelude::*;

fn histogram(waits_ms: &[u64]) -> Waits {
    let histogram = Histogram::default();
    for &ms in waits_ms {
        histogram.add(Duration::from_millis(ms));
    }
    histogram.read()
}

#[test]
fn a_wait_is_in_the_first_bucket_that_reaches_it() {
    for (ms, bucket) in [(0, 0), (1, 0), (2, 1), (3, 2), (5, 2), (6, 3), (60_000, 14), (60_001, 15), (u64::MAX, 15)] {
        assert_eq!(bucket_of(ms), bucket, "{ms} ms");
    }
    assert!(BUCKETS_MS.is_sorted());
}

#[test]
fn of_no_connection_there_is_no_longest_wait_and_no_percentile() {
    let none = histogram(&[]);
    assert_eq!((none.count(), none.sum_ms, none.max_ms(), none.percentile_ms(50), none.percentile_ms(99)), {
        (0, 0, None, None, None)
    });
}

#[test]
fn a_percentile_is_the_upper_end_of_its_bucket_and_never_above_the_longest_wait() {
    let waits = histogram(&[0, 0, 3, 3, 3, 3, 3, 3, 3, 70_000]);
    assert_eq!((waits.count(), waits.sum_ms, waits.max_ms()), (10, 70_021, Some(70_000)));
    assert_eq!([0, 20, 50, 90, 91, 100].map(|percent| waits.percentile_ms(percent)), {
        [Some(1), Some(1), Some(5), Some(5), Some(70_000), Some(70_000)]
    });
    assert_eq!(histogram(&[3]).percentile_ms(50), Some(3));
}

#[test]
fn threads_lose_no_wait() {
    let shared = Histogram::default();
    thread::scope(|scope| {
        for ms in 0..8 {
            let shared = &shared;
            scope.spawn(move || (0..10_000).for_each(|_| shared.add(Duration::from_millis(ms))));
        }
    });
    let waits = shared.read();
    assert_eq!((waits.count(), waits.sum_ms, waits.max_ms()), (80_000, 280_000, Some(7)));
}

#[test]
fn listeners_that_are_closed_are_forgotten_a_few_at_a_time() {
    let histograms = Histograms::<u64>::new();
    let open = RefCell::new(BTreeSet::new());
    let asked = RefCell::new(0);
    let is_open = |socket: &u64| {
        *asked.borrow_mut() += 1;
        open.borrow().contains(socket)
    };
    for number in 1..=10_000 {
        open.borrow_mut().insert(number);
        open.borrow_mut().remove(&number.saturating_sub(100));
        let before = *asked.borrow();
        histograms.of(Cookie(number), &number, is_open).add(Duration::from_millis(7));
        assert!(*asked.borrow() - before <= 4, "so many were asked at once");
    }
    assert!(histograms.len() < 200, "{} are kept of 100", histograms.len());
    assert_eq!(histograms.read([Cookie(9_999), Cookie(10_000), Cookie(1)]).count(), 2);
}

#[test]
fn a_listener_that_is_open_keeps_its_waits() {
    let histograms = Histograms::<u64>::default();
    for _ in 0..3 {
        histograms.of(Cookie(1), &1, |_| true).add(Duration::from_millis(7));
    }
    (2..1000).for_each(|number| drop(histograms.of(Cookie(number), &number, |&socket| socket == 1)));
    assert_eq!(histograms.read([Cookie(1)]).count(), 3);
}

proptest! {
    #[test]
    fn the_sum_of_two_is_what_both_counted(some in prop::collection::vec(0u64..100_000, 0..50), others in prop::collection::vec(0u64..100_000, 0..50)) {
        let together = histogram(&[some.clone(), others.clone()].concat());
        prop_assert_eq!(histogram(&some).plus(histogram(&others)), together);
        prop_assert_eq!(together.count(), (some.len() + others.len()) as u64);
    }

    #[test]
    fn so_many_of_a_hundred_waited_no_longer(waits in prop::collection::vec(0u64..100_000, 1..50), percent in 1u64..=100) {
        let bound = histogram(&waits).percentile_ms(percent).expect("there are waits");
        let within = waits.iter().filter(|&&ms| ms <= bound).count();
        prop_assert!(within * 100 >= waits.len() * percent as usize);
        prop_assert!(bound <= *waits.iter().max().expect("there are waits"));
    }
}
