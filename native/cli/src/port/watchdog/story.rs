//! What the VM is still to be told of a hang: both when it is back, and what became of the evidence. Pure.

use std::path::PathBuf;
use std::time::Duration;

/// What became of one hang's evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) hang: u64,
    pub(super) file: Result<PathBuf, String>,
    pub(super) finding: Option<Finding>,
}

/// The strongest finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) id: &'static str,
    pub(crate) text: String,
}

/// What the VM is told when it is back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hung {
    /// From the last heartbeat before to the first one after.
    pub(crate) lasted: Duration,
    /// The document, or why there is none.
    pub(crate) file: Result<PathBuf, String>,
    pub(crate) finding: Option<Finding>,
}

#[derive(Debug, Default)]
pub(super) struct Story {
    hang: u64,
    is_writing: bool,
    recorded: Option<Recorded>,
    back: Option<Duration>,
}

const STILL_WRITING: &str = "the disk has not yet taken the evidence of a hang";

impl Story {
    /// The number of this hang, or of the next one.
    pub(super) fn hang(&self) -> u64 {
        self.hang
    }

    /// Somebody looks at it and will write.
    pub(super) fn is_being_written(&mut self) {
        self.is_writing = true;
    }

    /// Nobody looks at it.
    pub(super) fn is_lost(&mut self) {
        let why = if self.is_writing { STILL_WRITING } else { "no thread can be had" };
        self.recorded.get_or_insert(Recorded { hang: self.hang, file: Err(why.to_owned()), finding: None });
    }

    /// It is written down, or cannot be. Of a hang that was told without it, there is no more to tell.
    pub(super) fn recorded(&mut self, recorded: Recorded) -> Option<Hung> {
        self.is_writing = false;
        if recorded.hang == self.hang {
            self.recorded = Some(recorded);
        }
        self.told()
    }

    /// It is over.
    pub(super) fn back(&mut self, lasted: Duration) -> Option<Hung> {
        self.back = Some(lasted);
        self.told()
    }

    /// The next one may be about to begin. Where a disk does not answer, what it has not taken is told without it, and nobody
    /// else is sent there.
    pub(super) fn may_look(&mut self) -> Result<(), Option<Hung>> {
        if !self.is_writing {
            return Ok(());
        }
        self.is_lost();
        Err(self.told())
    }

    fn told(&mut self) -> Option<Hung> {
        let (Some(_), Some(lasted)) = (&self.recorded, self.back) else { return None };
        self.back = None;
        self.hang += 1;
        self.recorded.take().map(|Recorded { file, finding, .. }| Hung { lasted, file, finding })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTED: Duration = Duration::from_secs(9);

    fn written(hang: u64) -> Recorded {
        Recorded { hang, file: Ok(PathBuf::from(format!("/evidence/{hang}"))), finding: None }
    }

    fn told(file: Result<&str, &str>) -> Option<Hung> {
        Some(Hung { lasted: LASTED, file: file.map(PathBuf::from).map_err(str::to_owned), finding: None })
    }

    #[test]
    fn a_hang_is_told_once_when_both_are_known_in_either_order() {
        let mut story = Story::default();
        for (hang, is_written_first) in [(0, true), (1, false)] {
            assert_eq!(story.may_look(), Ok(()));
            story.is_being_written();
            let (first, second) = if is_written_first {
                (story.recorded(written(hang)), story.back(LASTED))
            } else {
                (story.back(LASTED), story.recorded(written(hang)))
            };
            assert_eq!((first, second), (None, told(Ok(&format!("/evidence/{hang}")))));
        }
    }

    #[test]
    fn a_disk_that_does_not_answer_holds_up_no_story() {
        let mut story = Story::default();
        story.is_being_written();
        assert_eq!(story.back(LASTED), None);
        assert_eq!(story.may_look(), Err(told(Err(STILL_WRITING))));
        // That hang comes to nothing; the next one has nobody who looks.
        assert_eq!(story.may_look(), Err(None));
        story.is_lost();
        assert_eq!(story.back(LASTED), told(Err(STILL_WRITING)));
        assert_eq!(story.recorded(written(0)), None, "it was told without it");
        assert_eq!(story.may_look(), Ok(()));
        story.is_being_written();
        assert_eq!((story.recorded(written(2)), story.back(LASTED)), (None, told(Ok("/evidence/2"))));
    }
}
