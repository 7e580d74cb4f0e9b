//! What a command shows on a terminal, as a picture for the documentation: `scripts/pictures` calls it.
//!
//!     screen_as_svg FILE COLUMNS ROWS WAIT_MS KEYS TITLE COMMAND...
//!
//! The keys are pressed when the time has passed, and the screen is taken when as much has passed again or the command has
//! ended. Light and dark follow the reader's settings.

#[path = "../tests/pseudo_terminal/mod.rs"]
mod pseudo_terminal;

use std::error::Error;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use portable_pty::CommandBuilder;
use pseudo_terminal::PseudoTerminal;

const CELL: (f64, f64) = (8.4, 18.0);
const MARGIN: f64 = 14.0;
const TITLE: f64 = 26.0;

/// The colours of a terminal by their names in the style sheet.
const STYLE: &str = "
  svg { --paper: #ffffff; --rim: #d0d7de; --ink: #1f2328; --dim: #6e7781; --red: #c2232d; --green: #1a7f37; --yellow: #8a5a00; --blue: #0550ae; --magenta: #8250df; --cyan: #126a80; }
  @media (prefers-color-scheme: dark) { svg { --paper: #0d1117; --rim: #30363d; --ink: #e6edf3; --dim: #8b949e; --red: #ff7b72; --green: #56d364; --yellow: #e3b341; --blue: #79c0ff; --magenta: #d2a8ff; --cyan: #76e3ea; } }
  text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace; white-space: pre; fill: var(--ink); }
  .bold { font-weight: 700; }
";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, columns, rows, wait_ms, keys, title, command @ ..] = &arguments[..] else {
        return Err("FILE COLUMNS ROWS WAIT_MS KEYS TITLE COMMAND...".into());
    };
    let wait = Duration::from_millis(wait_ms.parse()?);
    let terminal = shown(command, rows.parse()?, columns.parse()?, wait, keys)?;
    std::fs::write(file, svg(terminal.screen(), title)?)?;
    Ok(())
}

fn shown(
    command: &[String],
    rows: u16,
    columns: u16,
    wait: Duration,
    keys: &str,
) -> Result<PseudoTerminal, Box<dyn Error>> {
    let mut builder = CommandBuilder::new(&command[0]);
    builder.args(&command[1..]);
    let mut terminal = PseudoTerminal::start(builder, rows, columns)?;
    // It reads until the time has passed, or until the command has ended.
    let _ = terminal.read_until(Instant::now() + wait, |_| false);
    if !keys.is_empty() {
        terminal.press(keys)?;
        let _ = terminal.read_until(Instant::now() + wait, |_| false);
    }
    Ok(terminal)
}

fn svg(screen: &vt100::Screen, title: &str) -> Result<String, Box<dyn Error>> {
    let (rows, columns) = screen.size();
    let (rows, columns) = (rows.get(), columns.get());
    let (width, height) = (f64::from(columns) * CELL.0 + 2.0 * MARGIN, f64::from(rows) * CELL.1 + TITLE + 2.0 * MARGIN);
    let mut out = String::new();
    writeln!(
        out,
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.1} {height:.1}' width='{width:.0}' role='img'>"
    )?;
    writeln!(out, "<title>{}</title>\n<style>{STYLE}</style>", escaped(title))?;
    writeln!(
        out,
        "<rect x='0.5' y='0.5' width='{:.1}' height='{:.1}' rx='8' fill='var(--paper)' stroke='var(--rim)'/>",
        width - 1.0,
        height - 1.0
    )?;
    writeln!(out, "<text x='{MARGIN}' y='22' style='fill: var(--dim)'>{}</text>", escaped(title))?;
    writeln!(out, "<path d='M0.5 {:.1}H{:.1}' stroke='var(--rim)'/>", TITLE + 6.5, width - 0.5)?;
    for row in 0..rows {
        let mut column = 0;
        while column < columns {
            column += run(&mut out, screen, row, column, columns)?;
        }
    }
    out.push_str("</svg>\n");
    Ok(out)
}

/// Draws the cells that look like this one and follow it; how many there were.
fn run(out: &mut String, screen: &vt100::Screen, row: u16, from: u16, columns: u16) -> Result<u16, Box<dyn Error>> {
    let cell = |column| screen.cell(row, column);
    let Some(first) = cell(from) else { return Ok(1) };
    let look = Look::of(first);
    let mut text = String::new();
    let mut length = 0;
    while from + length < columns {
        let Some(next) = cell(from + length) else { break };
        if Look::of(next) != look || block(next.contents()) != block(first.contents()) {
            break;
        }
        text.push_str(if next.has_contents() { next.contents() } else { " " });
        length += 1;
    }
    let at = |column: u16| MARGIN + f64::from(column) * CELL.0;
    let top = TITLE + MARGIN + f64::from(row) * CELL.1;
    if let Some(paper) = look.paper {
        writeln!(
            out,
            "<rect x='{:.1}' y='{top:.1}' width='{:.1}' height='{}' fill='{paper}'/>",
            at(from),
            f64::from(length) * CELL.0,
            CELL.1
        )?;
    }
    if block(first.contents()).is_some() {
        let height = CELL.1 * f64::from(block(first.contents()).unwrap_or(8)) / 8.0;
        writeln!(
            out,
            "<rect x='{:.1}' y='{:.2}' width='{:.1}' height='{height:.2}' fill='{}'/>",
            at(from),
            top + CELL.1 - height,
            f64::from(length) * CELL.0,
            look.ink
        )?;
    } else if !text.trim().is_empty() {
        // Blanks in front move it, those behind are left out.
        let shown = text.trim_end();
        let blank = shown.chars().take_while(|c| *c == ' ').count() as u16;
        let shown = shown.trim_start();
        writeln!(
            out,
            "<text x='{:.1}' y='{:.1}' textLength='{:.1}' lengthAdjust='spacingAndGlyphs' style='fill: {}'{}>{}</text>",
            at(from + blank),
            top + 13.5,
            f64::from(shown.chars().count() as u16) * CELL.0,
            look.ink,
            if look.bold { " class='bold'" } else { "" },
            escaped(shown)
        )?;
    }
    Ok(length.max(1))
}

/// How a cell looks.
#[derive(PartialEq)]
struct Look {
    ink: &'static str,
    paper: Option<&'static str>,
    bold: bool,
}

impl Look {
    fn of(cell: &vt100::Cell) -> Look {
        let ink = colour(cell.fgcolor()).unwrap_or(if cell.dim() { "var(--dim)" } else { "var(--ink)" });
        let paper = colour(cell.bgcolor());
        if cell.inverse() {
            Look { ink: paper.unwrap_or("var(--paper)"), paper: Some(ink), bold: cell.bold() }
        } else {
            Look { ink, paper, bold: cell.bold() }
        }
    }
}

/// The sixteen that every terminal has; `None`: its own.
fn colour(colour: vt100::Color) -> Option<&'static str> {
    let vt100::Color::Idx(index) = colour else { return None };
    Some(match index % 8 {
        0 if index == 8 => "var(--dim)",
        1 => "var(--red)",
        2 => "var(--green)",
        3 => "var(--yellow)",
        4 => "var(--blue)",
        5 => "var(--magenta)",
        6 => "var(--cyan)",
        _ => "var(--ink)",
    })
}

/// How many eighths of the cell a lower block fills: fonts leave gaps between them.
fn block(text: &str) -> Option<u8> {
    let eighths = u32::from(text.chars().next()?).checked_sub(0x2580)?;
    (1..=8).contains(&eighths).then_some(eighths as u8)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
