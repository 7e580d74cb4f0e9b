//! What one sample of an observer brings.

use std::time::Duration;

use crate::linux::namespace::Namespace;
use crate::outside::scope::{Gap, Owner};
use crate::rules::detector::Condition;
use crate::rules::history::{CensusTaken, DepthReading, Status};
use crate::{Cookie, Endpoint, Inode};

/// One sample of everything in the scope.
#[derive(Debug, Default)]
pub struct Sample {
    /// Every queue in the scope, by namespace and address.
    pub readings: Vec<Reading>,
    /// Those that were there in the sample before.
    pub gone: Vec<Gone>,
    /// What could not be read.
    pub gaps: Vec<Gap>,
}

impl Sample {
    /// No queue is known, and there may be some: nothing of the scope could be read.
    pub fn is_blind(&self) -> bool {
        self.readings.is_empty() && !self.gaps.is_empty()
    }
}

/// One queue in one sample.
#[derive(Debug)]
pub struct Reading {
    /// The network namespace of its address.
    pub namespace: Namespace,
    /// The address.
    pub endpoint: Endpoint,
    /// The processes that own it, as of the last search.
    pub owners: Vec<Owner>,
    /// The sockets that share it.
    pub sockets: Vec<(Cookie, Inode)>,
    /// It was not there in the sample before.
    pub is_new: bool,
    /// How deep it is, and what that changed.
    pub depth_reading: DepthReading,
    /// The census, if one was taken now, and what that changed.
    pub census: Option<CensusTaken>,
    /// Everything that is known of it.
    pub status: Status,
}

/// A queue whose listener has been closed, or opened again.
#[derive(Debug)]
pub struct Gone {
    /// The network namespace of its address.
    pub namespace: Namespace,
    /// The address.
    pub endpoint: Endpoint,
    /// The processes that owned it.
    pub owners: Vec<Owner>,
    /// What was raised, and for how long it had been.
    pub conditions: Vec<(Condition, Duration)>,
}
