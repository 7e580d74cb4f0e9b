//! A program on a pseudo-terminal, and what that terminal shows. For the tests of `top`, and for the pictures of the documents.
#![allow(dead_code, reason = "each user takes its part")]

use std::error::Error;
use std::io::{Read, Write};
use std::num::NonZero;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Instant;

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};

/// Dropping it ends the program.
pub(crate) struct PseudoTerminal {
    master: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    output: Receiver<Vec<u8>>,
    parser: vt100::Parser,
}

impl PseudoTerminal {
    /// Starts the command on a terminal of this size. `TERM` is xterm-256color; the rest of the environment is the command's.
    pub(crate) fn start(
        mut command: CommandBuilder,
        rows: u16,
        columns: u16,
    ) -> Result<PseudoTerminal, Box<dyn Error>> {
        let pair = native_pty_system().openpty(size(rows, columns))?;
        command.env("TERM", "xterm-256color");
        let child = pair.slave.spawn_command(command)?;
        // The output ends when the program closes the last descriptor of the terminal.
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader()?;
        let keyboard = pair.master.take_writer()?;
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let parser = vt100::Parser::new(rows.try_into()?, columns.try_into()?, 0);
        Ok(PseudoTerminal { master: pair.master, keyboard, child, output, parser })
    }

    /// What it shows now.
    pub(crate) fn screen(&self) -> &vt100::Screen {
        self.parser.screen()
    }

    /// Reads until the screen is as asked for. [`RecvTimeoutError::Disconnected`]: the output has ended before that.
    pub(crate) fn read_until(
        &mut self,
        deadline: Instant,
        holds: impl Fn(&vt100::Screen) -> bool,
    ) -> Result<(), RecvTimeoutError> {
        while !holds(self.screen()) {
            let bytes = self.output.recv_timeout(deadline.saturating_duration_since(Instant::now()))?;
            self.parser.process(&bytes);
        }
        Ok(())
    }

    pub(crate) fn press(&mut self, keys: &str) -> std::io::Result<()> {
        self.keyboard.write_all(keys.as_bytes()).and_then(|()| self.keyboard.flush())
    }

    /// Shows what no program has written here, as if another had.
    pub(crate) fn scribble(&mut self, text: &str) {
        self.parser.process(text.as_bytes());
    }

    pub(crate) fn resize(&mut self, rows: u16, columns: u16) -> Result<(), Box<dyn Error>> {
        self.master.resize(size(rows, columns))?;
        self.parser.screen_mut().set_size(NonZero::try_from(rows)?, NonZero::try_from(columns)?);
        Ok(())
    }

    pub(crate) fn process_id(&self) -> Option<u32> {
        self.child.process_id()
    }

    /// Blocks until the program has ended.
    pub(crate) fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Whether the terminal echoes and takes lines, as a shell needs it.
    pub(crate) fn is_cooked(&self) -> bool {
        let modes = format!("{:?}", self.master.get_termios().map(|settings| settings.local_flags));
        modes.contains("ICANON") && modes.contains("ECHO")
    }
}

impl Drop for PseudoTerminal {
    fn drop(&mut self) {
        // After it was waited for, its number may be another process's.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill().and_then(|()| self.child.wait());
        }
    }
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}
