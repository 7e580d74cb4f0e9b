//! How bad a finding is, and how sure.

use crate::Endpoint;

/// How bad it is; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gravity {
    /// Clients wait, or will, and none is accepted.
    Hang,
    /// Clients are lost or served late, but the VM goes on.
    Trouble,
    /// What could not be read might be a hang.
    Unknown,
    /// All is well.
    Healthy,
    /// Worth knowing.
    Note,
}

impl Gravity {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Gravity::Hang => "hang",
            Gravity::Trouble => "trouble",
            Gravity::Unknown => "unknown",
            Gravity::Healthy => "healthy",
            Gravity::Note => "note",
        }
    }
}

/// How sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// The kernel says so.
    Certain,
    /// The figures allow hardly anything else.
    Likely,
    /// One of several explanations.
    Possible,
}

impl Confidence {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Confidence::Certain => "certain",
            Confidence::Likely => "likely",
            Confidence::Possible => "possible",
        }
    }
}

/// Something that was found of one subject, with its grade.
pub(super) struct Graded<T> {
    pub(super) found: T,
    pub(super) gravity: Gravity,
    pub(super) confidence: Confidence,
    pub(super) listener: Option<Endpoint>,
}
