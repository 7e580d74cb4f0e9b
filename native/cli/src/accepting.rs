//! Whether a process accepts on a listener: the words for it, the same in every command.

pub(crate) mod epoll;

use accept_queue_core::vm::pollset::Accepting;

use epoll::EpollState;

/// In a column, and in JSON.
pub(crate) fn word(accepting: Accepting) -> &'static str {
    match accepting {
        Accepting::Armed(_) => "armed",
        Accepting::Delivered => "delivered",
        Accepting::NotArmed(_) => "not_armed",
        Accepting::NeverAccepted => "never_accepted",
    }
}

/// In a sentence.
pub(crate) fn in_full(accepting: Option<Accepting>) -> &'static str {
    match accepting {
        Some(Accepting::Armed(_)) => "a process waits in accept",
        Some(Accepting::Delivered) => "the VM was notified of a connection, and no process has called accept since",
        Some(Accepting::NotArmed(_)) => "no process is in accept now",
        Some(Accepting::NeverAccepted) => "no process has ever waited in accept",
        None => "not known: the owner is no BEAM, or its epoll sets could not be read",
    }
}

/// From the least to the most worrying; not known comes first.
pub(crate) fn rank(accepting: Option<Accepting>) -> u8 {
    match accepting {
        None => 0,
        Some(Accepting::Armed(_)) => 1,
        Some(Accepting::Delivered) => 2,
        Some(Accepting::NotArmed(_)) => 3,
        Some(Accepting::NeverAccepted) => 4,
    }
}

/// Of the sockets of a listener the worst. `None`: of none it is known.
pub(crate) fn worst(sockets: &[EpollState]) -> Option<Accepting> {
    sockets.iter().map(|state| state.accepting).max_by_key(|&accepting| rank(accepting)).flatten()
}

/// The word of the worst, and how many sockets it is the word of.
pub(crate) fn worst_word(sockets: &[EpollState]) -> Option<(&'static str, usize)> {
    let worst = word(worst(sockets)?);
    let same = sockets.iter().filter(|state| state.accepting.map(word) == Some(worst)).count();
    Some((worst, same))
}

/// In a column: of how many sockets, where they differ.
pub(crate) fn text(sockets: &[EpollState]) -> String {
    match worst_word(sockets) {
        None => "-".to_owned(),
        Some((worst, same)) if same == sockets.len() => worst.to_owned(),
        Some((worst, same)) => format!("{worst} {same}/{}", sockets.len()),
    }
}

#[cfg(test)]
mod tests {
    use accept_queue_core::Inode;
    use accept_queue_core::vm::pollset::Set;

    use super::*;

    #[test]
    fn of_several_sockets_the_worst_is_shown_and_of_how_many() {
        let armed = Some(Accepting::Armed(Set::PollThread));
        let not_armed = Some(Accepting::NotArmed(Set::PollThread));
        for (sockets, shown) in [
            (&[][..], "-"),
            (&[None], "-"),
            (&[armed], "armed"),
            (&[armed, armed], "armed"),
            (&[armed, not_armed, armed], "not_armed 1/3"),
            (&[not_armed, None], "not_armed 1/2"),
            (&[armed, Some(Accepting::NeverAccepted)], "never_accepted 1/2"),
        ] {
            let state = |&accepting| EpollState { socket: Inode(1), found: Vec::new(), accepting };
            assert_eq!(text(&sockets.iter().map(state).collect::<Vec<_>>()), shown);
        }
    }
}
