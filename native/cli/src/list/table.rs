//! The listeners as a table: one that fits 80 columns, and one with every figure. Pure.

use std::collections::HashMap;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use ratatui::text::Span;

use super::Row;
use crate::figures::{Listener, Process, span};

/// Of a terminal as it opens, of a mail and of a ticket.
const WIDTH: usize = 80;
/// A cell has a space on either side.
const PADDING: usize = 2;

/// One column: its title, its cells, and whether they are figures.
struct Column {
    title: &'static str,
    is_figure: bool,
    cells: Vec<String>,
}

/// What is needed first, in 80 columns. What is cut bears a sign of it.
pub(super) fn narrow(rows: &[Row]) -> String {
    let figure = |title, cell: fn(&Row) -> String| Column::new(title, true, rows.iter().map(cell).collect());
    let text = |title, cell: fn(&Row) -> String| Column::new(title, false, rows.iter().map(cell).collect());
    let mut figures = vec![figure("QUEUED", |row| queued(&row.listener))];
    if rows.iter().any(|row| row.listener.figures.full == Some(true)) {
        figures.push(text("", |row| full(&row.listener)));
    }
    figures.push(figure("OLDEST", |row| {
        row.listener.figures.oldest_wait_ms.map_or_else(|| "-".to_owned(), |wait| span(Duration::from_millis(wait)))
    }));
    figures.push(figure("DROPS", |row| or_dash(row.listener.figures.drops)));
    figures.push(text("ACCEPTS", |row| row.accepts_text.clone()));
    let addresses = Column::new("ADDRESS", false, addresses(rows));
    // The last space of a line is trimmed.
    let taken = figures.iter().map(|column| column.width() + PADDING).sum::<usize>() + 2 * PADDING;
    let room = (WIDTH + 1).saturating_sub(taken);
    let owners = Column::new("OWNER", false, rows.iter().map(|row| owners(&row.listener.owners)).collect());
    let for_owner = owners.width().min((room / 2).max(room.saturating_sub(addresses.width())));
    let owner = |row: &Row| owners_within(&row.listener.owners, for_owner);
    let owners = Column::new("OWNER", false, rows.iter().map(owner).collect());
    let address = |address: &String| cut(address, room.saturating_sub(for_owner));
    let addresses = Column::new("ADDRESS", false, addresses.cells.iter().map(address).collect());
    drawn([addresses].into_iter().chain(figures).chain([owners]))
}

/// Every figure, as wide as it takes.
pub(super) fn wide(rows: &[Row]) -> String {
    let figure = |title, cell: fn(&Row) -> String| Column::new(title, true, rows.iter().map(cell).collect());
    let text = |title, cell: fn(&Row) -> String| Column::new(title, false, rows.iter().map(cell).collect());
    drawn([
        Column::new("ADDRESS", false, addresses(rows)),
        figure("QUEUED", |row| row.listener.figures.queued.to_string()),
        figure("LIMIT", |row| or_dash(row.listener.figures.limit.map(u64::from))),
        text("", |row| full(&row.listener)),
        figure("ALIVE", |row| or_dash(row.listener.figures.queued_alive.map(u64::from))),
        figure("CLOSED", |row| or_dash(row.listener.figures.queued_closed.map(u64::from))),
        figure("RESET", |row| or_dash(row.listener.figures.queued_reset.map(u64::from))),
        figure("OLDEST ms", |row| or_dash(row.listener.figures.oldest_wait_ms)),
        figure("DROPS", |row| or_dash(row.listener.figures.drops)),
        figure("SYN_RECV", |row| or_dash(row.listener.figures.syn_recv.map(u64::from))),
        figure("ESTABLISHED", |row| row.listener.figures.established.to_string()),
        figure("CLOSE_WAIT", |row| row.listener.figures.close_wait.to_string()),
        text("ACCEPTS", |row| row.accepts_text.clone()),
        text("OWNER", |row| owners(&row.listener.owners)),
    ])
}

impl Column {
    fn new(title: &'static str, is_figure: bool, cells: Vec<String>) -> Column {
        Column { title, is_figure, cells }
    }

    fn width(&self) -> usize {
        self.cells.iter().map(|cell| width(cell)).fold(self.title.len(), usize::max)
    }
}

fn drawn(columns: impl IntoIterator<Item = Column>) -> String {
    let columns: Vec<_> = columns.into_iter().collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|column| column.title));
    let count = columns.first().map_or(0, |column| column.cells.len());
    table.add_rows(
        (0..count).map(|row| columns.iter().map(move |column| column.cells[row].clone()).collect::<Vec<_>>()),
    );
    for (drawn, column) in table.column_iter_mut().zip(&columns) {
        if column.is_figure {
            drawn.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

fn or_dash(figure: Option<u64>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string())
}

fn queued(Listener { figures, .. }: &Listener) -> String {
    match figures.limit {
        Some(limit) => format!("{}/{limit}", figures.queued),
        None => format!("{}/?", figures.queued),
    }
}

fn full(Listener { figures, .. }: &Listener) -> String {
    if figures.full == Some(true) { "full" } else { "" }.to_owned()
}

/// Where two rows would look alike, the address is followed by what they differ in.
fn addresses(rows: &[Row]) -> Vec<String> {
    let mut namespaces: HashMap<&str, HashMap<u64, usize>> = HashMap::new();
    for Row { listener: Listener { address, namespace, .. }, .. } in rows {
        *namespaces.entry(address).or_default().entry(*namespace).or_default() += 1;
    }
    let address = |Row { listener: Listener { address, apart, namespace, .. }, .. }: &Row| {
        let alike = &namespaces[address.as_str()];
        let mut shown = address.clone();
        if alike[namespace] > 1 {
            shown += apart;
        }
        if alike.len() > 1 {
            shown += &format!("%net:[{namespace}]");
        }
        shown
    };
    rows.iter().map(address).collect()
}

fn owners(owners: &[Process]) -> String {
    if owners.is_empty() { "-".to_owned() } else { owners.iter().map(Process::shown).collect::<Vec<_>>().join(", ") }
}

/// All of them, or the first and how many others there are.
fn owners_within(processes: &[Process], room: usize) -> String {
    let all = owners(processes);
    match processes {
        [first, others @ ..] if width(&all) > room && !others.is_empty() => {
            let others = format!(" +{}", others.len());
            cut(&first.shown(), room.saturating_sub(others.len())) + &others
        }
        _ => cut(&all, room),
    }
}

/// In cells of a terminal.
fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Without its middle where it is wider than this: an address ends with its port, and an owner with its number.
pub(crate) fn cut(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let room = room.saturating_sub(1);
    let head = fitting(text.chars(), room / 2);
    let tail: String = fitting(text.chars().rev(), room - width(&head)).chars().rev().collect();
    format!("{head}…{tail}")
}

/// The first letters, as many as there is room for.
fn fitting(letters: impl Iterator<Item = char>, room: usize) -> String {
    let mut taken = 0;
    let mut fits = |letter: &char| {
        taken += width(letter.encode_utf8(&mut [0; 4]));
        taken <= room
    };
    letters.take_while(|letter| fits(letter)).collect()
}

#[cfg(test)]
mod tests {
    use accept_queue_core::Counts;

    use super::*;
    use crate::figures::Figures;

    fn row(address: &str, owners: &[&str], counts: Counts) -> Row {
        let owner = |(number, name): (usize, &&str)| Process { pid: 4711 + number as i32, name: (*name).to_owned() };
        Row {
            listener: Listener {
                address: address.to_owned(),
                namespace: 1,
                apart: String::new(),
                owners: owners.iter().enumerate().map(owner).collect(),
                figures: Figures::from(&counts),
            },
            accepts: None,
            accepts_sockets: None,
            accepts_text: "not_armed".to_owned(),
        }
    }

    fn queue(queued: u32, limit: u32) -> Counts {
        Counts { queued, limit, drops: Some(u32::MAX), ..Counts::default() }
    }

    #[test]
    fn rows_that_would_look_alike_say_what_they_differ_in() {
        let shown = |rows: &[(&str, &str, u64)]| {
            let listener = |&(address, apart, namespace): &(&str, &str, u64)| {
                let mut row = row(address, &[], Counts::default());
                row.listener.apart = apart.to_owned();
                row.listener.namespace = namespace;
                row
            };
            addresses(&rows.iter().map(listener).collect::<Vec<_>>())
        };
        assert_eq!(shown(&[("0.0.0.0:80", "%2", 1), ("0.0.0.0:81", "", 1)]), ["0.0.0.0:80", "0.0.0.0:81"]);
        assert_eq!(shown(&[("0.0.0.0:80", "", 1), ("0.0.0.0:80", "%2", 1)]), ["0.0.0.0:80", "0.0.0.0:80%2"]);
        let two = shown(&[("0.0.0.0:80", "", 1), ("0.0.0.0:80", "", 7)]);
        assert_eq!(two, ["0.0.0.0:80%net:[1]", "0.0.0.0:80%net:[7]"]);
    }

    #[test]
    fn a_table_that_fits_is_not_cut() {
        let oldest = Counts { oldest_wait: Some(Duration::from_millis(5316)), ..queue(31, 30) };
        let rows = [row("0.0.0.0:8080", &["shop@host"], oldest), row("unix:/run/shop", &[], queue(0, u32::MAX))];
        assert_eq!(
            narrow(&rows),
            " ADDRESS         QUEUED        OLDEST       DROPS  ACCEPTS    OWNER\n \
             0.0.0.0:8080     31/30  full    5.3s  4294967295  not_armed  shop@host (4711)\n \
             unix:/run/shop     0/?             -  4294967295  not_armed  -\n"
        );
        assert!(!narrow(&rows[1..]).contains("full"));
    }

    #[test]
    fn no_line_is_wider_than_80_columns_and_what_is_cut_has_a_sign() {
        let six = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535";
        let long = format!("unix:/run/{}/sock", "x".repeat(90));
        for (address, owners, address_shown, owner_shown) in [
            (six, &["shop@host"][..], ":65535", "4711)"),
            (&long, &["shop@host"], "/sock", "4711)"),
            ("0.0.0.0:80", &["a-node-with-a-long-name@a-host-with-a-long-name.example.com"], "0.0.0.0:80", "4711)"),
            ("0.0.0.0:80", &["nginx"; 5], "0.0.0.0:80", "nginx (4711) +4"),
            (&long, &["店@机器-with-a-long-name", "b", "c"], "/sock", "+2"),
        ] {
            for counts in [queue(0, 5), queue(65536, 65535), queue(u32::MAX - 1, u32::MAX - 2)] {
                let text = narrow(&[row(address, owners, counts), row("[::]:1", &["b"], queue(0, 5))]);
                assert!(text.lines().all(|line| width(line) <= WIDTH), "{text}");
                let line = text.lines().nth(1).expect("a row");
                if counts.queued <= 65536 {
                    assert!(line.contains(address_shown), "{address_shown}: {text}");
                    assert!(line.ends_with(owner_shown), "{owner_shown}: {text}");
                }
                let is_whole =
                    line.contains(address) && owners.iter().all(|owner| line.contains(owner)) && owners.len() == 1;
                assert!(is_whole || line.contains('…') || line.contains(" +"), "{text}");
                assert!(wide(&[row(address, owners, counts)]).contains(address));
            }
        }
    }

    #[test]
    fn a_cut_leaves_both_ends() {
        for (text, room, shown) in [
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "ab…efg"),
            ("abcdefg", 1, "…"),
            ("abcdefg", 0, "…"),
            ("店店店店", 5, "店…店"),
            ("店店店店", 6, "店…店"),
        ] {
            assert_eq!(cut(text, room), shown, "{room}");
        }
    }
}
