use accept_queue_core::Endpoint;
use accept_queue_core::rules::detector::Condition;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};

use super::super::fixtures::{MadeUp, app, app_for, observation, press};
use super::*;

fn ports(app: &App) -> Vec<u16> {
    app.rows().iter().map(|row| port(row)).collect()
}

fn port(row: &ListenerRow) -> u16 {
    match &row.id.1 {
        Endpoint::Tcp(address) => address.port,
        Endpoint::Unix(_) => 0,
    }
}

fn selected(app: &App) -> u16 {
    let rows = app.rows();
    port(rows[app.selected(&rows).expect("a row")])
}

fn with(app: &mut App, at: u64, rows: &[MadeUp]) {
    app.observed(observation(Duration::from_secs(at), rows));
}

/// 8001 is deep, 8002 is quiet, 8003 is full.
fn three(app: &mut App, at: u64) {
    with(app, at, &[MadeUp::new(8001, 10, 100), MadeUp::new(8002, 0, 100), MadeUp::new(8003, 6, 5)]);
}

#[test]
fn the_fullest_comes_first_and_the_order_can_be_turned() {
    let mut app = app();
    three(&mut app, 0);
    assert_eq!(ports(&app), [8003, 8001, 8002]);
    press(&mut app, "r");
    assert_eq!(ports(&app), [8002, 8001, 8003]);
}

#[test]
fn what_is_wrong_comes_before_what_is_full() {
    let mut app = app();
    let stuck = MadeUp::new(8002, 1, 100).raising(Condition::Stuck);
    let behind = MadeUp::new(8001, 1, 100).raising(Condition::Behind);
    with(&mut app, 0, &[behind, stuck, MadeUp::new(8003, 6, 5)]);
    assert_eq!(ports(&app), [8002, 8001, 8003]);
}

#[test]
fn sorting_goes_through_all_columns_and_comes_back() {
    let mut app = app();
    three(&mut app, 0);
    let first = app.sort;
    press(&mut app, "s");
    assert_ne!(app.sort, first);
    press(&mut app, "S");
    assert_eq!(app.sort, first);
    for _ in Column::SORTED {
        press(&mut app, "s");
    }
    assert_eq!(app.sort, first);
    while app.sort.by != Column::Address {
        press(&mut app, "s");
    }
    assert_eq!(ports(&app), [8001, 8002, 8003]);
}

#[test]
fn a_filter_is_typed_corrected_kept_and_cleared() {
    let mut app = app();
    three(&mut app, 0);
    press(&mut app, "/8002q");
    assert!(app.is_typing && !app.has_quit, "q is a letter here");
    assert!(ports(&app).is_empty());
    press(&mut app, "\x08\n");
    assert_eq!(ports(&app), [8002]);
    assert!(!app.is_typing);
    press(&mut app, "\x1b");
    assert_eq!(ports(&app).len(), 3);
    assert!(!app.has_quit, "the filter was what Esc closed");
    press(&mut app, "/8002\x1b");
    assert_eq!(ports(&app).len(), 3);
}

#[test]
fn a_filter_knows_owners_and_conditions_in_any_case() {
    let mut app = app();
    let stuck = MadeUp::new(8002, 1, 100).raising(Condition::Stuck).owned_by("mail");
    with(&mut app, 0, &[MadeUp::new(8001, 0, 1).owned_by("Shop@host"), stuck]);
    press(&mut app, "/shop");
    assert_eq!(ports(&app), [8001]);
    press(&mut app, "\x1b/STUCK");
    assert_eq!(ports(&app), [8002]);
}

#[test]
fn while_paused_nothing_moves_and_nothing_is_lost() {
    let mut app = app();
    three(&mut app, 0);
    press(&mut app, "p");
    with(&mut app, 1, &[MadeUp::new(8001, 99, 100)]);
    assert!(app.is_paused());
    assert_eq!(ports(&app).len(), 3);
    press(&mut app, " ");
    assert_eq!(ports(&app), [8001]);
    assert_eq!(app.rows()[0].history.len(), 2, "what came meanwhile is in the history");
}

#[test]
fn the_selection_follows_its_listener_and_not_its_row() {
    let mut app = app();
    three(&mut app, 0);
    assert_eq!(selected(&app), 8003);
    press(&mut app, "j");
    assert_eq!(selected(&app), 8001);
    with(&mut app, 1, &[MadeUp::new(8001, 0, 100), MadeUp::new(8002, 50, 100), MadeUp::new(8003, 0, 5)]);
    assert_eq!(ports(&app), [8002, 8001, 8003]);
    assert_eq!(selected(&app), 8001);
    press(&mut app, "jjjj");
    assert_eq!(selected(&app), 8003);
    press(&mut app, "kkkkkk");
    assert_eq!(selected(&app), 8002);
    press(&mut app, "G");
    assert_eq!(selected(&app), 8003);
    press(&mut app, "g");
    assert_eq!(selected(&app), 8002);
}

#[test]
fn where_the_selected_listener_is_gone_its_row_is_selected() {
    let mut app = app();
    three(&mut app, 0);
    press(&mut app, "j");
    with(&mut app, 1, &[MadeUp::new(8003, 6, 5), MadeUp::new(8002, 0, 100)]);
    assert_eq!(selected(&app), 8002);
    with(&mut app, 2, &[]);
    assert_eq!(app.selected(&app.rows()), None);
    press(&mut app, "jk\n");
}

#[test]
fn esc_closes_one_thing_at_a_time_and_then_the_program() {
    let mut app = app();
    three(&mut app, 0);
    press(&mut app, "/80\n\n?");
    assert!(app.pane == Some(Pane::Detail) && app.page == Some(Page::Help));
    for _ in 0..3 {
        press(&mut app, "\x1b");
        assert!(!app.has_quit);
    }
    press(&mut app, "\x1b");
    assert!(app.has_quit);
}

#[test]
fn control_c_quits_whatever_is_open() {
    for keys in ["", "/8", "?", "\n", "p"] {
        let mut app = app();
        three(&mut app, 0);
        press(&mut app, keys);
        app.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(app.has_quit, "after {keys:?}");
    }
}

#[test]
fn a_key_with_control_or_alt_is_no_letter() {
    let mut app = app();
    for modifiers in [KeyModifiers::CONTROL, KeyModifiers::ALT] {
        app.key(KeyEvent::new(KeyCode::Char('q'), modifiers));
    }
    assert!(!app.has_quit);
}

#[test]
fn a_failed_reading_leaves_no_old_figures_and_is_forgotten_when_it_works_again() {
    let mut app = app_for(Some(4711));
    three(&mut app, 0);
    app.failed(Error::NotFound);
    assert_eq!(app.failure.as_deref(), Some("process 4711 has ended"));
    assert!(app.has_ended && app.rows().is_empty());
    app.failed(Error::Truncated);
    assert!(!app.has_ended, "that may be better the next time");
    three(&mut app, 1);
    assert_eq!(app.failure, None);
}
