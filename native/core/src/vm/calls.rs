//! The names of system calls, and which of them are a thread's rest. By name: a number means another call on another processor, and not each
//! processor has each call.

use std::ffi::c_long;

use syscall_numbers::native::sys_call_name;

/// By its name; `None`: there is no such call.
pub fn name(number: i64) -> Option<&'static str> {
    c_long::try_from(number).ok().and_then(sys_call_name)
}

/// Waits for a descriptor of an epoll set, its first argument.
pub fn is_epoll(number: i64) -> bool {
    name(number).is_some_and(|name| ["epoll_wait", "epoll_pwait", "epoll_pwait2"].contains(&name))
}

/// Threads of a BEAM that have nothing to do wait in these; so does code that waits for a lock.
pub fn is_rest(number: i64) -> bool {
    // What a stop has interrupted goes on in `restart_syscall`, whatever it was. 32-bit processors have two of futex.
    is_epoll(number) || name(number).is_some_and(|name| ["futex", "futex_time64", "restart_syscall"].contains(&name))
}

/// The same by the function of the kernel that the thread waits in, where its call may not be known.
pub fn is_rest_channel(wait_channel: &str) -> bool {
    ["futex", "ep_poll", "do_epoll_wait", "do_futex"].iter().any(|prefix| wait_channel.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_without_work_rests() {
        assert!(is_rest(libc::SYS_futex) && is_rest(libc::SYS_epoll_pwait) && is_rest_channel("futex_do_wait"));
        assert!(!is_rest(libc::SYS_close) && !is_rest_channel("hrtimer_nanosleep") && !is_epoll(libc::SYS_futex));
        assert!(is_epoll(libc::SYS_epoll_pwait2) && is_rest(libc::SYS_restart_syscall));
        assert_eq!((name(libc::SYS_close), name(-1), name(9999)), (Some("close"), None, None));
        assert_eq!(name(libc::SYS_clock_nanosleep), Some("clock_nanosleep"));
    }
}
