//! The columns of the table: their text, their order, and which of them there is room for. Pure.

use std::cmp::Ordering;

use accept_queue_core::Counts;

use super::row::ListenerRow;
use super::words;
use crate::{accepting, condition};

/// One column, in the order of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Address,
    Queued,
    Fill,
    History,
    Oldest,
    Drops,
    Accepts,
    Alive,
    Closed,
    Reset,
    CloseWait,
    Conditions,
    Owner,
}

impl Column {
    /// From left to right.
    pub(crate) const ALL: [Column; 13] = [
        Column::Address,
        Column::Queued,
        Column::Fill,
        Column::History,
        Column::Oldest,
        Column::Drops,
        Column::Accepts,
        Column::Alive,
        Column::Closed,
        Column::Reset,
        Column::CloseWait,
        Column::Conditions,
        Column::Owner,
    ];

    /// What a narrow screen has room for; the first are the last to go.
    const FIRST: [Column; 6] =
        [Column::Address, Column::Queued, Column::Conditions, Column::Oldest, Column::Drops, Column::Accepts];

    /// What a wider one has room for, too, when every condition has been spelled out.
    const THEN: [Column; 6] =
        [Column::Fill, Column::Closed, Column::Reset, Column::Alive, Column::CloseWait, Column::Owner];

    /// By these the rows may be sorted, one after the other.
    pub(crate) const SORTED: [Column; 11] = [
        Column::Conditions,
        Column::Queued,
        Column::Oldest,
        Column::Drops,
        Column::Accepts,
        Column::Alive,
        Column::Closed,
        Column::Reset,
        Column::CloseWait,
        Column::Address,
        Column::Owner,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Column::Address => "ADDRESS",
            Column::Queued => "QUEUED",
            Column::Fill => "FILL",
            Column::History => "HISTORY",
            Column::Oldest => "OLDEST",
            Column::Drops => "DROPS/s",
            Column::Accepts => "ACCEPTS",
            Column::Alive => "ALIVE",
            Column::Closed => "CLOSED",
            Column::Reset => "RESET",
            Column::CloseWait => "CL_WAIT",
            Column::Conditions => "CONDITION",
            Column::Owner => "OWNER",
        }
    }

    pub(crate) fn explanation(self) -> &'static str {
        match self {
            Column::Address => "where it listens",
            Column::Queued => "connections that wait for accept / the backlog in force; it has one place more",
            Column::Fill => "the same as a bar",
            Column::History => "the same over time, one sign a reading; the top is full",
            Column::Oldest => "how long the first of them has waited",
            Column::Drops => "packets this listener has dropped, a second",
            Column::Accepts => {
                "armed: a process waits in accept; delivered: the VM was notified of a connection; not_armed: none waits; never_accepted: none ever did"
            }
            Column::Alive => "of the queued: the client is still there",
            Column::Closed => "of the queued: the client has closed",
            Column::Reset => "of the queued: the client has reset",
            Column::CloseWait => "accepted, closed by the client, still held by the application",
            Column::Conditions => "what is wrong, for long enough to be sure",
            Column::Owner => "its process",
        }
    }

    /// Figures are aligned at the right of their column.
    pub(crate) fn is_figure(self) -> bool {
        !matches!(
            self,
            Column::Address | Column::Fill | Column::History | Column::Accepts | Column::Conditions | Column::Owner
        )
    }

    /// Its text in a row; bars are drawn and have none.
    pub(crate) fn text(self, row: &ListenerRow) -> String {
        let counted = |figure: fn(&Counts) -> Option<u32>| {
            row.counts().and_then(|counts| figure(&counts)).map_or_else(|| "-".to_owned(), |figure| figure.to_string())
        };
        match self {
            Column::Address => row.address.clone(),
            Column::Queued => match row.depth.known_limit() {
                Some(limit) => format!("{}/{limit}", row.depth.queued),
                None => format!("{}/?", row.depth.queued),
            },
            Column::Fill | Column::History => String::new(),
            Column::Oldest => row.oldest_wait().map_or_else(|| "-".to_owned(), words::span),
            Column::Drops => row.drops_per_second().map_or_else(|| "-".to_owned(), words::rate),
            Column::Accepts => accepting::text(&row.epoll),
            Column::Alive => counted(|counts| counts.queued_alive),
            Column::Closed => counted(|counts| counts.queued_closed),
            Column::Reset => counted(Counts::queued_reset),
            Column::CloseWait => counted(|counts| Some(counts.close_wait)),
            Column::Conditions => row.conditions().into_iter().map(condition::name).collect::<Vec<_>>().join(" "),
            Column::Owner => match &row.owners[..] {
                [first, _, ..] => format!("{first} +{}", row.owners.len() - 1),
                owners => owners.join(", "),
            },
        }
    }

    /// What comes first of two: the most worrying figure, the first name.
    pub(crate) fn compare(self, one: &ListenerRow, other: &ListenerRow) -> Ordering {
        let by = |key: fn(&ListenerRow) -> u64| key(other).cmp(&key(one));
        let counted = |figure: fn(&Counts) -> Option<u32>| {
            let of = |row: &ListenerRow| row.counts().and_then(|counts| figure(&counts));
            of(other).cmp(&of(one))
        };
        match self {
            Column::Address | Column::Fill | Column::History => one.id.cmp(&other.id),
            Column::Owner => one.owners.cmp(&other.owners),
            Column::Queued => other.fill().total_cmp(&one.fill()).then(by(|row| row.depth.queued.into())),
            Column::Oldest => other.oldest_wait().cmp(&one.oldest_wait()),
            Column::Drops => {
                let rate = |row: &ListenerRow| row.drops_per_second().unwrap_or(-1.0);
                rate(other).total_cmp(&rate(one))
            }
            Column::Accepts => by(|row| words::accepting_rank(row.accepting()).into()),
            Column::Alive => counted(|counts| counts.queued_alive),
            Column::Closed => counted(|counts| counts.queued_closed),
            Column::Reset => counted(Counts::queued_reset),
            Column::CloseWait => counted(|counts| Some(counts.close_wait)),
            Column::Conditions => other
                .severity()
                .cmp(&one.severity())
                .then(by(|row| row.status.conditions.len() as u64))
                .then(other.fill().total_cmp(&one.fill())),
        }
    }

    /// The least width that shows anything.
    fn least(self) -> usize {
        match self {
            Column::Address => 10,
            Column::Queued | Column::Conditions => 6,
            Column::Fill => 5,
            Column::History => 8,
            Column::Owner => 10,
            _ => self.title().len(),
        }
    }

    /// The width that shows everything, as far as that is sensible.
    fn enough(self, rows: &[&ListenerRow], room: usize) -> usize {
        let widest = || widest(self, rows);
        match self {
            Column::Fill | Column::History => 8,
            Column::Conditions => "overflowing".len(),
            Column::Address => widest().min(room * 2 / 5),
            Column::Owner => widest().min(room / 3),
            _ => widest(),
        }
        .max(self.title().len())
        .max(self.least())
    }
}

/// Between two columns.
pub(crate) const GAP: usize = 1;
/// More of the past than this needs no room that the rest of the screen could have.
const LONGEST_HISTORY: usize = 60;

/// The columns for which there is room, from left to right, each with its width.
pub(crate) fn fitting(room: usize, rows: &[&ListenerRow]) -> Vec<(Column, usize)> {
    let mut left = room + GAP;
    let mut widths = [0; Column::ALL.len()];
    let mut widen = |column: Column, enough: usize| {
        let width = &mut widths[column as usize];
        let gap = if *width == 0 { GAP } else { 0 };
        let wider = enough.min(*width + left.saturating_sub(gap));
        if wider >= column.least().max(*width) {
            left -= wider - *width + gap;
            *width = wider;
        }
    };
    for column in Column::FIRST {
        widen(column, column.enough(rows, room));
    }
    // Whose listener it is matters as soon as there are two to choose from.
    if has_two_owners(rows) {
        widen(Column::Owner, Column::Owner.enough(rows, room));
    }
    widen(Column::History, Column::History.enough(rows, room));
    widen(Column::Conditions, widest(Column::Conditions, rows));
    for column in Column::THEN {
        widen(column, column.enough(rows, room));
    }
    widen(Column::History, LONGEST_HISTORY);
    Column::ALL.into_iter().map(|column| (column, widths[column as usize])).filter(|&(_, width)| width > 0).collect()
}

fn has_two_owners(rows: &[&ListenerRow]) -> bool {
    let mut owners = rows.iter().flat_map(|row| &row.owners);
    owners.next().is_some_and(|first| owners.any(|owner| owner != first))
}

fn widest(column: Column, rows: &[&ListenerRow]) -> usize {
    rows.iter().map(|row| column.text(row).chars().count()).max().unwrap_or(0)
}
