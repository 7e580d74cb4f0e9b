//! Heartbeats of a VM -> when to examine it, when it hangs, and when it is back. Pure.
//!
//! Silence counts only while the watcher itself runs: of a machine that slept, or of a control group that was
//! frozen with all that is in it, the watcher has slept as well, and nothing is held against the VM. A VM that alone is
//! stopped or frozen is silent, and hangs as far as its clients know.

use std::time::Duration;

use crate::rules::detector::Time;

/// How often the VM sends a heartbeat, and when it counts as hung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HangSettings {
    /// A heartbeat comes this often.
    pub heartbeat: Duration,
    /// It hangs when none has come for so long.
    pub hang_after: Duration,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It may be about to hang: examine it, for [`HangSettings::window`], so that the reason is known when it does.
    Examine,
    /// It is well: the examination is not wanted.
    Dismiss,
    /// It hangs.
    Hung {
        /// Since the last heartbeat.
        silent: Duration,
    },
    /// It is back.
    Back {
        /// From the last heartbeat before to the first one after.
        silent: Duration,
    },
}

/// Follows one VM.
#[derive(Debug)]
pub struct Heartbeat {
    settings: HangSettings,
    phase: Phase,
    /// Of the silence, what was watched.
    watched: Duration,
    beat: Time,
    ticked: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It has not begun.
    Awaited,
    Beats,
    Suspected,
    Hangs,
}

/// The watcher has slept where it was not called for longer.
const MOST_GAP: Duration = Duration::from_millis(500);
/// A hang shows itself in a second ([`crate::rules::detector::Settings::hold_for`]); two show more.
const LEAST_WINDOW: Duration = Duration::from_millis(1200);
const MOST_WINDOW: Duration = Duration::from_millis(2000);

impl HangSettings {
    /// For how long to examine.
    pub fn window(&self) -> Duration {
        self.hang_after.saturating_sub(self.overdue()).clamp(LEAST_WINDOW, MOST_WINDOW)
    }

    /// A heartbeat that is so late is missing.
    fn overdue(&self) -> Duration {
        self.heartbeat * 3 / 2
    }

    fn suspicion(&self) -> Duration {
        self.hang_after.saturating_sub(self.window()).max(self.overdue())
    }
}

impl Heartbeat {
    /// Nothing is expected before the first one.
    pub fn new(settings: HangSettings, at: Time) -> Heartbeat {
        Heartbeat { settings, phase: Phase::Awaited, watched: Duration::ZERO, beat: at, ticked: at }
    }

    /// A heartbeat has come.
    pub fn beat(&mut self, at: Time) -> Option<Step> {
        let step = match self.phase {
            Phase::Awaited | Phase::Beats => None,
            Phase::Suspected => Some(Step::Dismiss),
            Phase::Hangs => Some(Step::Back { silent: at.saturating_sub(self.beat) }),
        };
        self.phase = Phase::Beats;
        self.watched = Duration::ZERO;
        (self.beat, self.ticked) = (at, at);
        step
    }

    /// Time has passed. To be called several times within the shortest silence that means something.
    pub fn tick(&mut self, at: Time) -> Option<Step> {
        self.watched += at.saturating_sub(self.ticked).min(MOST_GAP);
        self.ticked = at;
        match self.phase {
            Phase::Beats if self.watched >= self.settings.suspicion() => {
                self.phase = Phase::Suspected;
                Some(Step::Examine)
            }
            Phase::Suspected if self.watched >= self.settings.hang_after => {
                self.phase = Phase::Hangs;
                Some(Step::Hung { silent: at.saturating_sub(self.beat) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const USUAL: HangSettings = HangSettings { heartbeat: Duration::from_secs(1), hang_after: Duration::from_secs(5) };

    /// Ticks every 100 ms up to `until`, with a heartbeat at each of `beats`, and none of either in `asleep`.
    fn story(settings: HangSettings, beats: &[u64], asleep: std::ops::Range<u64>, until: u64) -> Vec<(u64, Step)> {
        let mut heartbeat = Heartbeat::new(settings, ms(0));
        let mut steps = Vec::new();
        for at in (0..=until).step_by(100).filter(|at| !asleep.contains(at)) {
            let step = if beats.contains(&at) { heartbeat.beat(ms(at)) } else { heartbeat.tick(ms(at)) };
            steps.extend(step.map(|step| (at, step)));
        }
        steps
    }

    #[test]
    fn silence_is_distinguished_from_lateness_and_from_sleep() {
        let awake = 0..0;
        for (sentence, beats, asleep, until, steps) in [
            ("a VM that has never begun is not missed", &[][..], awake.clone(), 60_000, vec![]),
            ("one that beats is well", &[0, 1000, 2000, 3000, 4000, 5000, 6000], awake.clone(), 7000, vec![]),
            (
                "one that is late is examined and dismissed",
                &[0, 3500, 4500],
                awake.clone(),
                6000,
                vec![(3000, Step::Examine), (3500, Step::Dismiss)],
            ),
            (
                "one that stays away hangs, once, until it is back",
                &[1000, 61_000],
                awake,
                62_000,
                vec![
                    (4000, Step::Examine),
                    (6000, Step::Hung { silent: ms(5000) }),
                    (61_000, Step::Back { silent: ms(60_000) }),
                ],
            ),
            (
                "a night in which the watcher slept too is no hang",
                &[0, 1000, 30_000_500],
                1100..30_000_000,
                30_001_000,
                vec![],
            ),
            (
                "a sleep does not hide a hang before and after it",
                &[0],
                2000..50_000,
                53_000,
                // 1.9 s before it, half a second for it.
                vec![(50_600, Step::Examine), (52_600, Step::Hung { silent: ms(52_600) })],
            ),
        ] {
            assert_eq!(story(USUAL, beats, asleep, until), steps, "{sentence}");
        }
    }

    #[test]
    fn an_examination_is_over_when_the_hang_is_one_or_a_little_later() {
        for (heartbeat, hang_after, late) in
            [(1000, 5000, 0), (100, 1000, 350), (333, 1000, 700), (600, 2000, 100), (1000, 3_600_000, 0)]
        {
            let settings = HangSettings { heartbeat: ms(heartbeat), hang_after: ms(hang_after) };
            let ends = settings.suspicion() + settings.window();
            assert!(ends <= settings.hang_after + ms(late), "{settings:?}: {ends:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_each_examination_has_one_end(gaps in prop::collection::vec((0..2000_u64, any::<bool>()), 0..200)) {
            let (mut at, mut open) = (Duration::ZERO, None);
            let mut heartbeat = Heartbeat::new(USUAL, at);
            for (gap, is_beat) in gaps {
                at += ms(gap);
                let step = if is_beat { heartbeat.beat(at) } else { heartbeat.tick(at) };
                match (open, step) {
                    (None, Some(Step::Examine)) => open = Some(Step::Examine),
                    (Some(Step::Examine), Some(Step::Dismiss)) | (Some(Step::Hung { .. }), Some(Step::Back { .. })) => open = None,
                    (Some(Step::Examine), Some(hung @ Step::Hung { silent })) => {
                        prop_assert!(silent >= USUAL.hang_after);
                        open = Some(hung);
                    }
                    (_, None) => {}
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
