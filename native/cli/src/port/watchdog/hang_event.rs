//! When the event `hung` is due: once the VM is back and its evidence is written, or known to be lost. Once a hang. Pure.

use std::path::PathBuf;
use std::time::Duration;

use super::super::etf::Term;
use super::super::term::{atom, map};

/// The evidence of one hang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) hang: u64,
    pub(super) file: Result<PathBuf, String>,
    pub(super) finding: Option<StrongestFinding>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StrongestFinding {
    pub(super) id: &'static str,
    pub(super) text: String,
}

/// The details of the event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hung {
    /// From the last heartbeat before to the first one after.
    lasted: Duration,
    /// The document, or why there is none.
    file: Result<PathBuf, String>,
    finding: Option<StrongestFinding>,
}

impl From<Hung> for Term {
    fn from(hung: Hung) -> Term {
        let Hung { lasted, file, finding } = hung;
        let (file, reason) = match file {
            Ok(path) => (Some(Term::Binary(path.into_os_string().into_encoded_bytes())), None),
            Err(sentence) => (None, Some(Term::Binary(sentence.into_bytes()))),
        };
        let (finding, text) = finding.map(|found| (atom(found.id), Term::Binary(found.text.into_bytes()))).unzip();
        map([
            ("duration_ms", lasted.into()),
            ("file", file.into()),
            ("reason", reason.into()),
            ("finding", finding.into()),
            ("text", text.into()),
        ])
    }
}

/// What is known so far of the current hang, or of the next one.
#[derive(Debug, Default)]
pub(super) struct HangEvent {
    number: u64,
    is_writing: bool,
    written: Option<Written>,
    back: Option<Duration>,
}

const STILL_WRITING: &str = "the disk has not yet taken the evidence of a hang";

impl HangEvent {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// A thread examines the VM and will write.
    pub(super) fn writing(&mut self) {
        self.is_writing = true;
    }

    /// There will be no evidence of this hang.
    pub(super) fn not_written(&mut self) {
        let why = if self.is_writing { STILL_WRITING } else { "a thread could not be started" };
        self.written.get_or_insert(Written { hang: self.number, file: Err(why.to_owned()), finding: None });
    }

    /// The evidence is written, or cannot be. Where the event of that hang was published without it, nothing is due.
    pub(super) fn written(&mut self, written: Written) -> Option<Hung> {
        self.is_writing = false;
        if written.hang == self.number {
            self.written = Some(written);
        }
        self.due()
    }

    /// The VM is back.
    pub(super) fn back(&mut self, lasted: Duration) -> Option<Hung> {
        self.back = Some(lasted);
        self.due()
    }

    /// Before the VM is examined for the next hang. While a disk does not answer no other thread is started: the error is the
    /// event that is then due without its evidence.
    pub(super) fn may_examine(&mut self) -> Result<(), Option<Hung>> {
        if !self.is_writing {
            return Ok(());
        }
        self.not_written();
        Err(self.due())
    }

    fn due(&mut self) -> Option<Hung> {
        let (Some(_), Some(lasted)) = (&self.written, self.back) else { return None };
        self.back = None;
        self.number += 1;
        self.written.take().map(|Written { file, finding, .. }| Hung { lasted, file, finding })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTED: Duration = Duration::from_secs(9);

    fn written(hang: u64) -> Written {
        Written { hang, file: Ok(PathBuf::from(format!("/evidence/{hang}"))), finding: None }
    }

    fn event(file: Result<&str, &str>) -> Option<Hung> {
        Some(Hung { lasted: LASTED, file: file.map(PathBuf::from).map_err(str::to_owned), finding: None })
    }

    #[test]
    fn a_hang_is_published_once_when_both_are_known_in_either_order() {
        let mut hangs = HangEvent::default();
        for (hang, is_written_first) in [(0, true), (1, false)] {
            assert_eq!(hangs.may_examine(), Ok(()));
            hangs.writing();
            let (first, second) = if is_written_first {
                (hangs.written(written(hang)), hangs.back(LASTED))
            } else {
                (hangs.back(LASTED), hangs.written(written(hang)))
            };
            assert_eq!((first, second), (None, event(Ok(&format!("/evidence/{hang}")))));
        }
    }

    #[test]
    fn a_disk_that_does_not_answer_holds_up_no_event() {
        let mut hangs = HangEvent::default();
        hangs.writing();
        assert_eq!(hangs.back(LASTED), None);
        assert_eq!(hangs.may_examine(), Err(event(Err(STILL_WRITING))));
        // That hang comes to nothing; of the next one the VM is not examined.
        assert_eq!(hangs.may_examine(), Err(None));
        hangs.not_written();
        assert_eq!(hangs.back(LASTED), event(Err(STILL_WRITING)));
        assert_eq!(hangs.written(written(0)), None, "its event was published without it");
        assert_eq!(hangs.may_examine(), Ok(()));
        hangs.writing();
        assert_eq!((hangs.written(written(2)), hangs.back(LASTED)), (None, event(Ok("/evidence/2"))));
    }
}
