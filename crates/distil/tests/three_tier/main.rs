//! `examples/three-tier`, run: three `distil run` side by side, the same images in dockerd with docker-compose, the page
//! in a real browser, and what happens when something is wrong. Only with `DISTIL_TEST_ALL=1`; what a machine lacks is
//! told and passed over.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by a panic and tell what they skip"
)]

mod browser;
mod docker;
mod http;
mod images;
mod stack;

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use browser::Browser;
use docker::Docker;
use http::{ask, titles};
use images::Images;
use stack::{Part, Stack, until};

/// Long enough for a program to end on a machine that has much else to do; the examples promise one second.
const END: Duration = Duration::from_secs(5);

#[test]
fn to_dos_survive_a_restart_and_a_kill() {
    let Some(images) = Images::get() else { return };
    let mut stack = Stack::start(&images);
    let (status, added) = ask("POST", &stack.api(), Some(&json!({"title": "milk ü 🥛"}))).unwrap();
    assert_eq!((status, &added["title"]), (201, &json!("milk ü 🥛")));

    assert_eq!(stack.stop(Part::Database, Signal::TERM), Some(0));
    let (status, told) = ask("GET", &stack.api(), None).unwrap();
    assert_eq!(
        (status, &told["error"]),
        (503, &json!("the database does not answer"))
    );
    assert_eq!(ask("GET", &stack.back_health(), None).unwrap().0, 503);
    stack.start_part(Part::Database, &[]);
    stack.wait_until_well();
    assert_eq!(titles(&stack.api()), ["milk ü 🥛"]);

    let acknowledged = write_until_killed(&mut stack);
    stack.start_part(Part::Database, &[]);
    stack.wait_until_well();
    let kept = titles(&stack.api());
    assert_eq!(kept[0], "milk ü 🥛");
    // All that was acknowledged, once and in order; the one that was on its way may be there or not.
    assert!(
        kept.len() - 1 - acknowledged.len() <= 1,
        "{acknowledged:?}: {kept:?}"
    );
    assert_eq!(kept[1..=acknowledged.len()], acknowledged);
    stack.end();
}

/// Puts to-dos into the list, one after the other, and kills the server meanwhile; those that were answered with 201.
fn write_until_killed(stack: &mut Stack) -> Vec<String> {
    let url = stack.api();
    let enough = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let title = format!("number {number}");
                match ask("POST", &url, Some(&json!({"title": title}))) {
                    Ok((201, _)) => acknowledged.push(title),
                    _ => break,
                }
                enough.store(acknowledged.len() >= 50, Ordering::Relaxed);
            }
            acknowledged
        });
        until("50 to-dos", || {
            (enough.load(Ordering::Relaxed) || writer.is_finished()).then_some(())
        });
        stack.kill_server();
        writer.join().unwrap()
    });
    assert!(
        acknowledged.len() >= 50,
        "only {} were written",
        acknowledged.len()
    );
    // 128 and the number of SIGKILL: the first process of the image tells how the server ended.
    assert_eq!(stack.wait(Part::Database), Some(137));
    acknowledged
}

#[test]
fn a_first_start_that_is_killed_begins_anew() {
    let Some(images) = Images::get() else { return };
    let mut stack = Stack::new(&images);
    let growing = stack.data().join("preparing");
    for after in [0, 50, 200, 500] {
        stack.start_part(Part::Database, &[]);
        until("the preparation", || {
            (growing.exists() || stack.server_runs()).then_some(())
        });
        std::thread::sleep(Duration::from_millis(after));
        stack.kill(Part::Database);
        until("no server", || (!stack.server_runs()).then_some(()));
    }
    stack.start_part(Part::Database, &[]);
    stack.start_part(Part::Back, &[]);
    stack.start_part(Part::Front, &[]);
    stack.wait_until_well();
    assert!(!growing.exists());
    assert_eq!(titles(&stack.api()), [""; 0]);
    stack.end();
}

#[test]
fn the_page_is_used_in_a_browser() {
    let Some(images) = Images::get() else { return };
    let Some(browser) = Browser::new() else { return };
    let stack = Stack::start(&images);
    use_the_page(&browser, &format!("http://127.0.0.1:{}/", stack.ports.front));
    stack.end();
}

/// What a person does: writes a to-do, sees it in the list, comes back later, ticks it.
fn use_the_page(browser: &Browser, address: &str) {
    const ADD: &str = "form button";
    const ITEMS: &str = "li label";
    const BOX: &str = "li input[type=checkbox]";
    browser.open(address);
    assert_eq!(browser.title(), "To do");
    until("the empty list", || {
        browser
            .texts("main p")
            .contains(&"Nothing is left to do.".into())
            .then_some(())
    });
    assert!(!browser.is(ADD, "enabled"));
    browser.write("input[name=title]", "water the plants");
    browser.click(ADD);
    until("the to-do in the list", || {
        (browser.texts(ITEMS) == ["water the plants"]).then_some(())
    });
    assert!(!browser.is(BOX, "selected"));

    browser.reload();
    until("the to-do after a reload", || {
        (browser.texts(ITEMS) == ["water the plants"]).then_some(())
    });
    browser.click(BOX);
    until("the tick", || browser.is(BOX, "selected").then_some(()));
    browser.reload();
    until("the tick after a reload", || {
        (browser.texts(ITEMS) == ["water the plants"] && browser.is(BOX, "selected")).then_some(())
    });
    assert_eq!(browser.texts("[role=alert]"), [""; 0]);
    browser.click("li button");
    until("an empty list", || browser.texts(ITEMS).is_empty().then_some(()));
    // Text is text.
    browser.write("input[name=title]", "<b>bold</b> & \"quoted\"");
    browser.click(ADD);
    until("text with signs", || {
        (browser.texts(ITEMS) == ["<b>bold</b> & \"quoted\""]).then_some(())
    });
    assert_eq!(browser.errors(), [""; 0]);
}

#[test]
fn what_cannot_work_ends_with_a_reason() {
    let Some(images) = Images::get() else { return };
    let mut stack = Stack::new(&images);
    the_database_never_answers(&mut stack);
    the_back_does_not_answer(&mut stack);
    a_port_is_in_use(&mut stack);
    a_folder_is_not_ours(&mut stack);

    stack.start_part(Part::Database, &[]);
    let told = stack.fails(Part::Back, &["DATABASE_PASSWORD=wrong"]);
    assert!(
        told.contains("refuses this program") && told.contains("Access denied"),
        "{told}"
    );
    let told = stack.fails(Part::Back, &["DATABASE_NAME=other"]);
    assert!(told.contains("refuses this program"), "{told}");
    // A second database on the same folder.
    let other = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let told = stack.fails_beside(Part::Database, &[&format!("PORT={other}")]);
    assert!(told.contains("is in use by another database"), "{told}");

    stack.start_part(Part::Back, &[]);
    stack.start_part(Part::Front, &[]);
    stack.wait_until_well();
    // Ctrl-C: Java's code tells the signal, the two others end well.
    for (part, code) in [(Part::Front, 0), (Part::Back, 130), (Part::Database, 0)] {
        let begin = Instant::now();
        assert_eq!(stack.stop(part, Signal::INT), Some(code), "{part:?}");
        assert!(
            begin.elapsed() < END,
            "{part:?} took {:?} to end",
            begin.elapsed()
        );
    }
    stack.end();
}

/// Connections are taken, and nothing is ever said.
fn the_database_never_answers(stack: &mut Stack) {
    let silent = TcpListener::bind(("127.0.0.1", stack.ports.database)).unwrap();
    for address in ["127.0.0.1", "host.invalid"] {
        let host = format!("DATABASE_HOST={address}");
        stack.start_part(Part::Back, &["DATABASE_WAIT=8s", &host]);
        until("the wait to be told", || {
            let (status, told) = ask("GET", &stack.back_health(), None).ok()?;
            assert_eq!(
                (status, &told["status"]),
                (503, &json!("waiting for the database"))
            );
            Some(())
        });
        assert_eq!(stack.wait(Part::Back), Some(1));
        let log = stack.log(Part::Back);
        assert!(log.contains("does not answer, trying again for"), "{log}");
        assert!(
            log.contains("has not answered for 8 seconds") && log.contains(address),
            "{log}"
        );
        assert!(!log.contains("\tat "), "a stack trace: {log}");
    }
    drop(silent);
}

fn the_back_does_not_answer(stack: &mut Stack) {
    stack.start_part(Part::Front, &[]);
    let told: Value = until("the front", || {
        let (status, told) = ask("GET", &stack.api(), None).ok()?;
        assert_eq!(status, 502);
        Some(told)
    });
    assert_eq!(told["error"], "the back does not answer");
    assert_eq!(stack.stop(Part::Front, Signal::TERM), Some(0));
}

fn a_port_is_in_use(stack: &mut Stack) {
    for (part, port) in [
        (Part::Database, stack.ports.database),
        (Part::Back, stack.ports.back),
        (Part::Front, stack.ports.front),
    ] {
        let taken = TcpListener::bind(("0.0.0.0", port)).unwrap();
        let told = stack.fails(part, &[]).to_lowercase();
        assert!(
            told.contains(&format!("port {port}")) && told.contains("in use"),
            "{told}"
        );
        drop(taken);
    }
}

fn a_folder_is_not_ours(stack: &mut Stack) {
    stack.give_data_to(0);
    let told = stack.fails(Part::Database, &[]);
    assert!(
        told.contains("must be a volume that user 65532 can write to"),
        "{told}"
    );
    stack.give_data_to(65532);
    for (variable, expected) in [
        ("MARIADB_PASSWORD=", "no password: set MARIADB_PASSWORD"),
        ("MARIADB_PASSWORD_FILE=/nowhere", "MARIADB_PASSWORD_FILE"),
        ("MARIADB_USER=o'brien", "letters, digits"),
        ("PORT=http", "is no port number"),
    ] {
        let told = stack.fails(Part::Database, &[variable]);
        assert!(told.contains(expected), "{told}");
    }
    assert!(!stack.data().join("data").exists());
}

#[test]
fn docker_compose_runs_the_same_images() {
    let Some(images) = Images::get() else { return };
    let Some(docker) = Docker::start() else { return };
    for part in Part::ALL {
        docker.load(&images, part.image());
    }
    let Some(url) = docker.up() else { return };
    let api = format!("{url}api/todos");
    let (status, _) = ask("POST", &api, Some(&json!({"title": "milk"}))).unwrap();
    assert_eq!(status, 201);
    docker.compose(&["restart", "database"]);
    until("the list after a restart", || {
        matches!(ask("GET", &api, None), Ok((200, _))).then_some(())
    });
    assert_eq!(titles(&api), ["milk"]);
    docker.compose(&["kill", "-s", "KILL", "database"]);
    docker.compose(&["down"]);
    // The volume outlives its containers.
    assert!(docker.up().is_some());
    assert_eq!(titles(&api), ["milk"]);
    if let Some(browser) = Browser::new() {
        ask("DELETE", &format!("{api}/1"), None).unwrap();
        use_the_page(&browser, &url);
    }
    docker.compose(&["down", "--volumes"]);
}
