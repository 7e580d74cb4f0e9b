//! The screen, the keys and the signals: waits for the first of them, and draws.

use std::io::{self, Write as _};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::backend::Backend as _;
use ratatui::crossterm::cursor;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, disable_raw_mode, enable_raw_mode};
use rustix::process::{Signal, kill_current_process_group};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::app::App;
use super::examiner::{Examined, ExaminerThread};
use super::sampler::{Observation, Sampler};
use super::screen::{Palette, Screen};

/// What the loop waits for.
enum Message {
    Observed(Box<Result<Observation, accept_queue_core::Error>>),
    Examined(Box<Examined>),
    Terminal(io::Result<Event>),
    /// The process was stopped, and goes on.
    Continued,
    Ended,
}

/// More than a person types before the next drawing.
const PENDING: usize = 64;
/// From the signal until the process has stopped.
const STOPPING: Duration = Duration::from_millis(100);

/// Ends on a key, or a signal that asks for it.
pub(crate) fn run(mut app: App, sampler: Sampler) -> Result<(), String> {
    let (sender, messages) = mpsc::sync_channel(PENDING);
    listen_to_signals(sender.clone()).map_err(in_words)?;
    let mut terminal = Restored::enter().map_err(in_words)?;
    listen_to_keys(sender.clone());
    let reports = sender.clone();
    let examiner = ExaminerThread::start(move |examined| reports.send(Message::Examined(Box::new(examined))).is_ok());
    thread::spawn(move || {
        // Where the terminal does not take what is drawn, a sample less is drawn; the detector still sees all of them.
        sampler.run(|observed| {
            let sent = sender.try_send(Message::Observed(Box::new(observed)));
            !matches!(sent, Err(TrySendError::Disconnected(_)))
        });
    });
    let mut screen = Screen::new(Palette::of_environment());
    let mut examined = None;
    while !app.has_quit {
        let to_examine = app.to_examine();
        if to_examine != examined {
            examiner.examine(to_examine);
            examined = to_examine;
        }
        if std::mem::take(&mut app.wants_suspension) {
            terminal.suspend().map_err(in_words)?;
        }
        if std::mem::take(&mut app.wants_redraw) {
            terminal.clear().map_err(in_words)?;
        }
        terminal.0.draw(|frame| screen.draw(frame, &app)).map_err(in_words)?;
        app.extent = screen.extent;
        let Ok(message) = messages.recv() else { break };
        for message in std::iter::once(message).chain(messages.try_iter()) {
            match message {
                Message::Observed(observed) => match *observed {
                    Ok(observation) => app.observed(observation),
                    Err(error) => app.failed(error),
                },
                Message::Examined(examined) => app.examined(*examined),
                Message::Terminal(Ok(Event::Key(key))) => app.key(key),
                Message::Terminal(Ok(Event::Mouse(event))) => app.mouse(event),
                Message::Terminal(Ok(_)) => {}
                Message::Terminal(Err(error)) => return Err(in_words(error)),
                Message::Continued => terminal.take_again().map_err(in_words)?,
                Message::Ended => app.has_quit = true,
            }
        }
    }
    Ok(())
}

fn in_words(error: io::Error) -> String {
    format!("the terminal: {error}")
}

fn listen_to_keys(sender: SyncSender<Message>) {
    thread::spawn(move || {
        loop {
            let read = event::read();
            let is_last = read.is_err();
            if sender.send(Message::Terminal(read)).is_err() || is_last {
                return;
            }
        }
    });
}

fn listen_to_signals(sender: SyncSender<Message>) -> io::Result<()> {
    let mut signals = Signals::new([SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    thread::spawn(move || {
        for signal in signals.forever() {
            let message = if signal == SIGCONT { Message::Continued } else { Message::Ended };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// A terminal that is as it was when this is dropped, and when a thread panics.
struct Restored(DefaultTerminal);

impl Restored {
    fn enter() -> io::Result<Restored> {
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        take_mouse()?;
        let restore_and_print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let _ = leave_mouse().and_then(|()| execute!(io::stdout(), cursor::Show));
            restore_and_print(panic);
            // Without the thread that panicked the screen would say what is no longer so.
            std::process::exit(101);
        }));
        Ok(Restored(terminal))
    }
}

impl Restored {
    /// Stops the process group, so that the shell sees the whole job stop, until the shell lets it go on.
    fn suspend(&mut self) -> io::Result<()> {
        self.leave()?;
        kill_current_process_group(Signal::TSTP)?;
        // A thread may run for a moment before the signal stops it; where no shell could let it go on, the kernel does not stop it.
        thread::sleep(STOPPING);
        self.take_again()
    }

    /// Whatever has become of the terminal meanwhile.
    fn take_again(&mut self) -> io::Result<()> {
        // What is taken already would not be taken again.
        disable_raw_mode()?;
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        take_mouse()?;
        self.clear()
    }

    /// What is drawn next is drawn whole. (`Terminal::clear` asks the terminal where the cursor is, and waits for the answer.)
    fn clear(&mut self) -> io::Result<()> {
        self.0.backend_mut().clear()?;
        self.0.swap_buffers();
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        self.0.show_cursor()?;
        leave_mouse()?;
        ratatui::try_restore()
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        // An error means that the terminal is gone.
        let _ = self.leave();
        let _ = ratatui::try_restore();
    }
}

/// Buttons and the wheel. What moves without a button is no event: each would be a drawing.
fn take_mouse() -> io::Result<()> {
    io::stdout().write_all(b"\x1b[?1000h\x1b[?1006h").and_then(|()| io::stdout().flush())
}

fn leave_mouse() -> io::Result<()> {
    io::stdout().write_all(b"\x1b[?1006l\x1b[?1000l").and_then(|()| io::stdout().flush())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use portable_pty::{CommandBuilder, PtySize, native_pty_system};

    use super::*;

    const NAME: &str = "top::terminal::tests::a_panic_leaves_the_terminal_as_it_was_and_is_seen";
    const ON_THE_SCREEN: &str = "ACCEPT_QUEUE_TEST_PANICS_ON_THE_SCREEN";

    /// This test starts itself on a pseudo-terminal, and panics there with the screen on.
    #[test]
    fn a_panic_leaves_the_terminal_as_it_was_and_is_seen() {
        if std::env::var_os(ON_THE_SCREEN).is_some() {
            let mut terminal = Restored::enter().expect("a screen");
            terminal.0.draw(|frame| frame.render_widget("drawn", frame.area())).expect("a drawing");
            let other_thread = thread::spawn(|| panic!("on the screen"));
            let _ = other_thread.join();
            unreachable!("the program ends with the thread that panicked");
        }
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a pseudo-terminal");
        let mut command = CommandBuilder::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", NAME, "--nocapture"]);
        command.env(ON_THE_SCREEN, "yes");
        command.env("RUST_BACKTRACE", "0");
        let mut child = pair.slave.spawn_command(command).expect("itself");
        drop(pair.slave);
        let mut written = Vec::new();
        // It ends with an error: the last one has closed the terminal.
        let _ = pair.master.try_clone_reader().expect("its output").read_to_end(&mut written);
        let mut terminal = vt100::Parser::default();
        terminal.process(&written);
        assert!(String::from_utf8_lossy(&written).contains("drawn"));
        assert_eq!(child.wait().expect("its end").exit_code(), 101);
        assert!(terminal.screen().contents().contains("on the screen"), "{}", terminal.screen().contents());
        assert!(!terminal.screen().alternate_screen() && !terminal.screen().hide_cursor());
        let modes = format!("{:?}", pair.master.get_termios().expect("settings").local_flags);
        assert!(modes.contains("ICANON") && modes.contains("ECHO"), "{modes}");
    }
}
