use std::sync::Arc;
use std::time::Duration;

use accept_queue_core::linux::counters::Kernel;
use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::rules::detector::Condition;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::style::{Color, Modifier};

use super::super::fixtures::{MadeUp, app, beam, blocked, gap, observation, press};
use super::table::history;
use super::*;
use crate::top::column::Column;

/// As on the mailing list: no process accepts, 31 of 100 clients are queued. Beside it a listener that leaks, and a healthy
/// one.
fn of_2009() -> App {
    beside("leaky@host", "well@host")
}

/// The same listeners, all of one VM.
fn of_one_owner() -> App {
    beside("shop@host", "shop@host")
}

/// The owners of the one that leaks and of the healthy one.
fn beside(leaky: &str, healthy: &str) -> App {
    let mut app = app();
    for second in 0..40 {
        let queued = (second as u32).min(31);
        let stuck = MadeUp::new(9999, queued, 30)
            .waiting(Duration::from_millis(12_345), 9.min(queued))
            .dropped(second as u32 * 3)
            .raising(Condition::Stuck)
            .raising(Condition::Overflowing)
            .polled(Some(0x4000_0018));
        let leaks = MadeUp::new(8080, 1, 1024).holding(1500).raising(Condition::Leaking).owned_by(leaky);
        let well = MadeUp::new(443, 0, 4096).owned_by(healthy);
        app.observed(observation(Duration::from_secs(second), &[well, leaks, stuck]));
    }
    app
}

fn draw(app: &App, width: u16, height: u16, has_colours: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let mut screen = Screen::new(Palette { has_colours, is_ascii: false });
    terminal.draw(|frame| screen.draw(frame, app)).expect("a drawing");
    terminal.backend().buffer().clone()
}

fn lines_of(buffer: &Buffer) -> Vec<String> {
    let line = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..buffer.area.height).map(line).collect()
}

fn shown(app: &App, width: u16, height: u16) -> Vec<String> {
    lines_of(&draw(app, width, height, true))
}

fn shown_after(keys: &str, width: u16, height: u16) -> Vec<String> {
    let mut app = of_2009();
    press(&mut app, keys);
    shown(&app, width, height)
}

#[test]
fn a_usual_terminal_shows_what_is_wrong_and_whether_a_process_accepts() {
    let lines = shown(&of_one_owner(), 80, 24);
    let (top, rest) = lines.split_at(5);
    assert_eq!(
        top,
        [
            "every BEAM: 3 listeners, 2 in trouble, by CONDITION ▼          row 1 of 3  500ms",
            "ADDRESS        QUEUED FILL   HISTORY  OLDEST DROPS/s ACCEPTS   CONDITION",
            "127.0.0.1:9999  31/30 ██████ ████████  12.3s     3.0 not_armed stuck overflowing",
            "127.0.0.1:8080 1/1024 ······ ▁▁▁▁▁▁▁▁      -       0 armed     leaking",
            "127.0.0.1:443  0/4096 ······ ········      -       0 armed",
        ]
    );
    let (last, empty) = rest.split_last().expect("a footer");
    assert!(empty.iter().all(String::is_empty));
    assert_eq!(last, "q quit  ? help  / filter  s sort  r reverse  p pause  Enter detail  t threads");
}

#[test]
fn where_there_are_two_owners_they_are_named_before_there_is_a_picture() {
    let lines = shown(&of_2009(), 82, 24);
    assert_eq!(lines[1], "ADDRESS        QUEUED OLDEST DROPS/s ACCEPTS   CONDITION         OWNER");
    assert!(lines[2].ends_with("not_armed stuck overflowing shop@host (4711)"), "{}", lines[2]);
    assert!(lines[3].ends_with("leaky@host (4711)"), "{}", lines[3]);
}

#[test]
fn the_bar_gives_way_before_what_is_wrong_is_cut() {
    for width in 60..90 {
        let lines = shown(&of_one_owner(), width, 24);
        assert!(!lines[1].contains("FILL") || lines[2].ends_with("stuck overflowing"), "{width}: {lines:#?}");
    }
}

#[test]
fn the_keys_in_the_last_line_are_those_that_fit() {
    for (width, keys) in [
        (80, "q quit  ? help  / filter  s sort  r reverse  p pause  Enter detail  t threads"),
        (60, "q quit  ? help  / filter  s sort  Enter detail  t threads"),
        (40, "q quit  ? help  Enter detail  t threads"),
        (20, "q quit  ? help"),
    ] {
        assert_eq!(shown(&of_2009(), width, 24)[23], keys, "{width}");
    }
    for keys in ["t", "?"] {
        let last = &shown_after(keys, 60, 24)[23];
        assert!(last.contains("q quit") && last.split("  ").last() != Some(""), "{last}");
    }
}

#[test]
fn without_more_than_ascii_there_is_no_other_sign() {
    for keys in ["", "\n", "?", "t", "p", "r"] {
        let mut app = of_2009();
        press(&mut app, keys);
        app.examined(blocked(4711, "shop@host", vec![]));
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a terminal");
        let mut screen = Screen::new(Palette { has_colours: true, is_ascii: true });
        terminal.draw(|frame| screen.draw(frame, &app)).expect("a drawing");
        let lines = lines_of(terminal.backend().buffer());
        assert!(lines.iter().all(|line| line.is_ascii()), "{keys:?}: {lines:#?}");
        if keys == "\n" {
            assert!(lines.iter().any(|line| line.ends_with("#########")), "{lines:#?}");
        }
    }
}

#[test]
fn a_page_is_what_the_screen_has_room_for_and_a_click_selects_the_row_under_it() {
    let mut app = app();
    let many: Vec<_> = (8000..8100).map(|port| MadeUp::new(port, 0, 5)).collect();
    app.observed(observation(Duration::ZERO, &many));
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a terminal");
    let mut screen = Screen::new(Palette { has_colours: true, is_ascii: false });
    let mut title = |app: &mut App| {
        terminal.draw(|frame| screen.draw(frame, app)).expect("a drawing");
        app.extent = screen.extent;
        lines_of(terminal.backend().buffer())[0].clone()
    };
    assert!(title(&mut app).contains("row 1 of 100"));
    app.key(KeyCode::PageDown.into());
    assert!(title(&mut app).contains("row 22 of 100"));
    app.key(KeyCode::PageDown.into());
    assert!(title(&mut app).contains("row 43 of 100"));
    app.key(KeyCode::PageUp.into());
    assert!(title(&mut app).contains("row 22 of 100"));
    let mouse = |kind, row| MouseEvent { kind, column: 5, row, modifiers: KeyModifiers::NONE };
    app.mouse(mouse(MouseEventKind::ScrollDown, 9));
    assert!(title(&mut app).contains("row 23 of 100"));
    app.mouse(mouse(MouseEventKind::Down(MouseButton::Left), 2));
    assert!(title(&mut app).contains("row 22 of 100"), "the first row of the screen");
    press(&mut app, "t");
    app.examined(blocked(4711, "shop@host", vec![]));
    title(&mut app);
    app.mouse(mouse(MouseEventKind::ScrollDown, 20));
    assert!(app.scrolled == 1 && title(&mut app).contains("row 22 of 100"), "the threads are scrolled");
    app.mouse(mouse(MouseEventKind::ScrollUp, 20));
    assert_eq!(app.scrolled, 0);
    press(&mut app, "t");
    title(&mut app);
    for row in [0, 1, 23] {
        app.mouse(mouse(MouseEventKind::Down(MouseButton::Left), row));
        assert!(title(&mut app).contains("row 22 of 100"), "no row is on line {row}");
    }
}

#[test]
fn the_title_says_which_process_is_stopped() {
    let mut app = app();
    for (stopped, said) in [
        (&["shop@host"][..], "1 listener, shop@host (4711) stopped"),
        (&["shop@host", "till@host", "mail@host"], "1 listener, shop@host (4711) and 2 others stopped"),
        (&[], "1 listener, by CONDITION"),
    ] {
        let mut observed = observation(Duration::ZERO, &[MadeUp::new(8080, 0, 5)]);
        observed.stopped = stopped.iter().map(|name| Arc::new(beam(name))).collect();
        app.observed(observed);
        let title = &shown(&app, 80, 24)[0];
        assert!(title.contains(said), "{title}");
    }
}

#[test]
fn connections_and_overflows_of_the_namespace_are_under_the_title_where_there_is_room() {
    let mut app = app();
    for (second, said) in [
        (0, "network namespace: - connections/s, - overflows/s"),
        (1, "network namespace: 120 connections/s, 4.0 overflows/s"),
    ] {
        let mut observed = observation(Duration::from_secs(second), &[MadeUp::new(8080, 0, 5)]);
        let kernel = Kernel { listen_overflows: Some(7 + 4 * second), ..Kernel::default() };
        observed.kernel = Some((Namespace(1), kernel));
        observed.passive_opens = Some(120 * second);
        app.observed(observed);
        assert_eq!(shown(&app, 80, 24)[1], said);
    }
    assert!(shown(&app, 80, 24)[2].starts_with("ADDRESS"));
    assert!(shown(&app, 80, 10)[1].starts_with("ADDRESS"));
}

#[test]
fn a_wide_terminal_shows_every_column() {
    let lines = shown(&of_2009(), 160, 40);
    for column in Column::ALL {
        assert!(lines[1].contains(column.title()), "{column:?}");
    }
    let words: Vec<_> = lines[2].split_whitespace().collect();
    let (figures, [history, rest @ ..]) = words.split_at(3) else { panic!("{words:?}") };
    assert_eq!(figures, ["127.0.0.1:9999", "31/30", "████████"]);
    assert!("·▁▁▁▁▁▁▁▂▂▂▂▃▃▃▃▄▄▄▄▅▅▅▅▆▆▆▆▇▇▇█████████".ends_with(history) && history.chars().count() > 20, "{history}");
    assert_eq!(rest, ["12.3s", "3.0", "not_armed", "22", "9", "0", "0", "stuck", "overflowing", "shop@host", "(4711)"]);
    assert_eq!(lines.len(), 40);
}

#[test]
fn a_taller_terminal_has_figures_of_the_queued_too() {
    let lines = shown(&of_one_owner(), 120, 40);
    assert_eq!(
        lines[1].split_whitespace().collect::<Vec<_>>(),
        [
            "ADDRESS",
            "QUEUED",
            "FILL",
            "HISTORY",
            "OLDEST",
            "DROPS/s",
            "ACCEPTS",
            "ALIVE",
            "CLOSED",
            "RESET",
            "CL_WAIT",
            "CONDITION",
            "OWNER"
        ]
    );
}

#[test]
fn a_narrow_terminal_keeps_what_matters_most() {
    assert_eq!(
        shown(&of_2009(), 40, 10),
        [
            "every BEAM: 3 listeners, 2 in trou 500ms",
            "ADDRESS        QUEUED OLDEST CONDITION",
            "127.0.0.1:9999  31/30  12.3s stuck over…",
            "127.0.0.1:8080 1/1024      - leaking",
            "127.0.0.1:443  0/4096      -",
            "",
            "",
            "",
            "",
            "q quit  ? help  Enter detail  t threads",
        ]
    );
}

#[test]
fn the_detail_stands_below_the_table_where_there_is_room() {
    let lines = shown_after("\n", 80, 24);
    assert!(lines[2].starts_with("127.0.0.1:9999"));
    assert!(lines[9].starts_with(" 127.0.0.1:9999 ───"));
    let (graph, text) = lines[10..23].split_at(3);
    assert!(graph.iter().all(|line| line.ends_with("█████████")), "{graph:?}");
    assert_eq!(
        text,
        [
            "condition  stuck for 12.0s, overflowing for 12.0s",
            "accepts    no process is in accept now (40000018 in the poll thread's set, fd 4",
            "           of pid 4711)",
            "queue      31 of 31 places (backlog 30): alive 22, closed 9, reset 0; oldest",
            "           12.3s, 0 bytes",
            "listener   drops 117, syn_recv 0, established 7, close_wait 0, sockets 1",
            "minute     min 0, mean 15.5, max 31 (2.5s ago); watched for 90.0s",
            "owners     shop@host (4711)",
            "kernel     its counters are in another network namespace, or could not be read",
            "",
        ]
    );
}

#[test]
fn the_detail_takes_the_place_of_the_table_where_there_is_none() {
    let lines = shown_after("j\n", 40, 10);
    assert_eq!(lines[1], " 127.0.0.1:8080 ────────────────────────");
    assert_eq!(lines[2], "condition  leaking for 12.0s");
}

#[test]
fn the_threads_have_all_the_room_that_the_table_does_not_need() {
    let mut app = of_2009();
    press(&mut app, "t");
    app.examined(blocked(4711, "shop@host", vec![]));
    let lines = shown(&app, 80, 24);
    assert!(lines[2].starts_with("127.0.0.1:9999") && lines[4].starts_with("127.0.0.1:443"), "{lines:#?}");
    assert_eq!(lines[5], " shop@host (4711), looked at 11 times in 2.0 s, 0ms ago ────────────────────────");
    assert_eq!(lines[6], "scheduler_blocked (hang, certain)");
    assert!(lines[7].starts_with("  Scheduler 1 has been in "), "{lines:#?}");
    assert!(lines[23].starts_with("q quit  ? help  t closes"), "{lines:#?}");
    let wide = shown(&app, 200, 40);
    assert!(wide.iter().any(|line| line.contains("1_scheduler  is held up")), "{wide:#?}");
    let narrow = shown(&app, 40, 10);
    assert!(narrow[1].starts_with(" shop@host (4711), looked at"), "{narrow:#?}");
    assert_eq!(narrow[2], "scheduler_blocked (hang, certain)");
}

#[test]
fn a_hang_is_red_and_without_colours_bold() {
    let mut app = of_2009();
    press(&mut app, "t");
    app.examined(blocked(4711, "shop@host", vec![]));
    assert_eq!(draw(&app, 80, 24, true)[(0, 6)].fg, Color::Red);
    let plain = draw(&app, 80, 24, false);
    assert_eq!(plain[(0, 6)].fg, Color::Reset);
    assert!(plain[(0, 6)].modifier.contains(Modifier::BOLD));
}

#[test]
fn the_counters_of_the_kernel_are_shown_with_what_was_added() {
    let mut app = app();
    for listen_drops in [10, 13] {
        let mut observed = observation(Duration::ZERO, &[MadeUp::new(8080, 0, 5)]);
        let kernel = Kernel { listen_drops: Some(listen_drops), somaxconn: Some(4096), ..Kernel::default() };
        observed.kernel = Some((Namespace(1), kernel));
        app.observed(observed);
    }
    press(&mut app, "\n");
    let lines = shown(&app, 80, 24);
    assert!(lines.iter().any(|line| line == "kernel     ListenDrops 13 (+3)"), "{lines:#?}");
    assert!(lines.iter().any(|line| line == "           somaxconn 4096"), "{lines:#?}");
}

#[test]
fn help_has_every_key_and_column_and_can_be_scrolled() {
    let lines = shown_after("?", 80, 34);
    for column in Column::ALL {
        assert!(lines.iter().any(|line| line.starts_with(column.title())), "{column:?}");
    }
    assert!(lines.iter().all(|line| line.chars().count() <= 80));
    assert!(lines[1].starts_with("arrows j k"));
    assert!(shown_after("?jjjj", 80, 24)[1].starts_with("s S"));
    let far: String = "j".repeat(500);
    assert!(shown_after(&format!("?{far}"), 80, 24)[1].starts_with("The last reading"), "not beyond the end");
}

#[test]
fn a_filter_is_seen_while_it_is_typed_and_while_it_holds() {
    let lines = shown_after("/808", 80, 24);
    assert!(lines[23].starts_with("filter: 808   Enter keeps it"), "{}", lines[23]);
    assert!(lines[2].starts_with("127.0.0.1:8080") && lines[3].is_empty());
    let lines = shown_after("/808\n", 80, 24);
    assert!(lines[23].starts_with("filter: 808  q quit"));
    assert_eq!(shown_after("/nothing", 80, 24)[1], "No listener matches the filter.");
}

#[test]
fn a_paused_screen_says_so_at_any_width() {
    for width in [20, 40, 80] {
        assert!(shown_after("p", width, 10)[0].ends_with(" PAUSED"), "{width}");
    }
}

#[test]
fn what_could_not_be_read_is_named_without_control_characters() {
    let mut app = app();
    let mut observed = observation(Duration::ZERO, &[MadeUp::new(8080, 0, 5).owned_by("a\x1b[2Jb")]);
    observed.sample.gaps = vec![gap("x\ny"), gap("z")];
    app.observed(observed);
    let lines = shown(&app, 160, 10);
    assert!(lines[2].ends_with("a\\u{1b}[2Jb (4711)"), "{}", lines[2]);
    assert!(lines[7].starts_with("not seen, and 1 more (u): x\\ny (4711): its descriptors"), "{}", lines[7]);
    for width in [60, 80, 160] {
        let lines = shown(&app, width, 10);
        assert!(lines.join(" ").contains("CAP_DAC_READ_SEARCH"), "the remedy is not cut off: {lines:?}");
    }
    press(&mut app, "u");
    assert!(shown(&app, 160, 10)[2].starts_with("z (4711): "));
}

#[test]
fn where_nothing_could_be_read_the_screen_does_not_say_that_nothing_listens() {
    let mut app = app();
    let mut observed = observation(Duration::ZERO, &[]);
    observed.sample.gaps = vec![gap("shop"), gap("till")];
    app.observed(observed);
    for width in [60, 80, 120] {
        let text = shown(&app, width, 12).join(" ");
        assert!(text.contains("Nothing could be read of 2 processes") && text.contains("sudo"), "{text}");
        assert!(!text.contains("At the moment"), "{text}");
    }
}

#[test]
fn what_failed_is_said_instead_of_old_figures() {
    let mut app = of_2009();
    app.failed(accept_queue_core::Error::Errno(accept_queue_core::Errno(13)));
    let lines = shown(&app, 80, 24);
    assert!(!lines.iter().any(|line| line.starts_with("127.")));
    assert!(lines[22].starts_with("the kernel's sockets could not be read: "), "{}", lines[22]);
}

#[test]
fn what_is_wrong_is_red_or_yellow_and_without_colours_bold() {
    let at = |buffer: &Buffer, y: u16| {
        let x = lines_of(buffer)[y as usize].chars().count() as u16 - 1;
        buffer[(x, y)].style()
    };
    let coloured = draw(&of_one_owner(), 80, 24, true);
    assert_eq!(at(&coloured, 2).fg, Some(Color::Red));
    assert_eq!(at(&coloured, 3).fg, Some(Color::Yellow));
    let plain = draw(&of_one_owner(), 80, 24, false);
    assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert!(at(&plain, 3).add_modifier.contains(Modifier::BOLD));
}

#[test]
fn the_selected_row_is_on_the_screen_however_many_there_are() {
    let mut app = app();
    let many: Vec<_> = (8000..8500).map(|port| MadeUp::new(port, 0, 5)).collect();
    app.observed(observation(Duration::ZERO, &many));
    press(&mut app, "G");
    let buffer = draw(&app, 80, 24, true);
    assert!(lines_of(&buffer)[22].starts_with("127.0.0.1:8499"));
    assert!(buffer[(0, 22)].modifier.contains(Modifier::REVERSED));
}

#[test]
fn the_bars_of_the_selected_row_are_not_reversed_into_the_background() {
    let buffer = draw(&of_one_owner(), 80, 24, true);
    let is_bar = |cell: &&ratatui::buffer::Cell| cell.symbol() == "█";
    assert!(buffer.content.iter().filter(is_bar).count() > 8);
    assert!(buffer.content.iter().filter(is_bar).all(|cell| !cell.modifier.contains(Modifier::REVERSED)));
    assert!(buffer.content.iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
}

#[test]
fn no_size_is_too_small_to_draw_on() {
    for keys in ["", "\n", "?", "/8", "p", "t"] {
        let mut app = of_2009();
        press(&mut app, keys);
        app.examined(blocked(4711, "shop", vec![]));
        for (width, height) in (1..30).map(|width| (width, 30 - width)).chain([(1, 1), (200, 1), (1, 60), (300, 100)]) {
            assert_eq!(shown(&app, width, height).len(), usize::from(height), "{keys:?} on {width}x{height}");
        }
    }
}

#[test]
fn a_full_queue_alone_reaches_the_top() {
    let moment = |queued, limit| {
        let mut app = app();
        app.observed(observation(Duration::ZERO, &[MadeUp::new(1, queued, limit)]));
        history(app.rows()[0], 1)
    };
    for (what, queued, limit, sign) in [
        ("no client waits", 0, 1024, "·"),
        ("one of many can be seen", 1, 1024, "▁"),
        ("one more would fit", 1024, 1024, "▇"),
        ("no other would fit", 1025, 1024, "█"),
        ("a queue without a limit but one is empty", 0, 0, "·"),
        ("and full with one", 1, 0, "█"),
    ] {
        assert_eq!(moment(queued, limit), sign, "{what}");
    }
}
