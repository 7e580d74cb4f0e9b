//! The rules. Pure: numbers and a time that the caller passes in give a verdict, a condition, advice or a finding.

pub mod advice;
pub mod check;
pub mod detector;
pub mod diagnosis;
pub mod facts;
pub mod heartbeat;
pub mod history;
pub mod overflows;
pub mod verdict;
