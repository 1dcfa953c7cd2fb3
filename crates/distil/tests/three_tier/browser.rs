//! Debian's chromium without a window, driven over WebDriver (<https://www.w3.org/TR/webdriver2/>).

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::http::ask;
use crate::stack::until;

/// The key of an element's reference in answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub(crate) struct Browser {
    driver: Child,
    session: String,
    /// The profile.
    folder: tempfile::TempDir,
}

impl Browser {
    /// `None`, and told, where there is no chromedriver.
    pub(crate) fn new() -> Option<Browser> {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let folder = tempfile::Builder::new()
            .prefix("distil-browser-")
            .tempdir()
            .unwrap();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        let driver = match driver {
            Ok(driver) => driver,
            Err(error) => {
                println!("skipped: `chromedriver` (package chromium-driver): {error}");
                return None;
            }
        };
        let root = format!("http://127.0.0.1:{port}");
        let mut browser = Browser {
            driver,
            session: String::new(),
            folder,
        };
        until("chromedriver", || {
            let (_, status) = ask("GET", &format!("{root}/status"), None).ok()?;
            (status["value"]["ready"] == true).then_some(())
        });
        let session = browser.begin(&root);
        browser.session = format!("{root}/session/{session}");
        Some(browser)
    }

    fn begin(&self, root: &str) -> String {
        let profile = format!("--user-data-dir={}/profile", self.folder.path().display());
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:loggingPrefs": {"browser": "WARNING"},
            "goog:chromeOptions": {"args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-extensions", "--no-proxy-server", profile,
            ]},
        }}});
        let (status, told) = ask("POST", &format!("{root}/session"), Some(&wanted)).unwrap();
        assert_eq!(status, 200, "{told}");
        told["value"]["sessionId"].as_str().unwrap().to_owned()
    }

    fn command(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let (status, mut told) = ask(method, &format!("{}{path}", self.session), body).unwrap();
        if status == 200 {
            Ok(told["value"].take())
        } else {
            Err(told.to_string())
        }
    }

    pub(crate) fn open(&self, address: &str) {
        self.command("POST", "/url", Some(&json!({"url": address})))
            .unwrap();
    }

    pub(crate) fn reload(&self) {
        self.command("POST", "/refresh", Some(&json!({}))).unwrap();
    }

    pub(crate) fn title(&self) -> String {
        self.command("GET", "/title", None)
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// References of the elements that a CSS selector finds.
    fn elements(&self, selector: &str) -> Vec<String> {
        let wanted = json!({"using": "css selector", "value": selector});
        let found = self.command("POST", "/elements", Some(&wanted)).unwrap();
        let reference = |element: &Value| element[ELEMENT].as_str().unwrap().to_owned();
        found.as_array().unwrap().iter().map(reference).collect()
    }

    fn element(&self, selector: &str) -> String {
        until(selector, || self.elements(selector).into_iter().next())
    }

    /// What can be read in each of the elements; nothing for those that the page has just replaced.
    pub(crate) fn texts(&self, selector: &str) -> Vec<String> {
        let text = |element: String| {
            self.command("GET", &format!("/element/{element}/text"), None)
                .ok()
        };
        let texts = self.elements(selector).into_iter().filter_map(text);
        texts.map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    /// Presses the keys of a text in an element.
    pub(crate) fn write(&self, selector: &str, text: &str) {
        let path = format!("/element/{}/value", self.element(selector));
        self.command("POST", &path, Some(&json!({"text": text}))).unwrap();
    }

    pub(crate) fn click(&self, selector: &str) {
        let path = format!("/element/{}/click", self.element(selector));
        self.command("POST", &path, Some(&json!({}))).unwrap();
    }

    /// Whether an element is `enabled`, `selected` or `displayed`; not when the page has just replaced it.
    pub(crate) fn is(&self, selector: &str, state: &str) -> bool {
        let path = format!("/element/{}/{state}", self.element(selector));
        self.command("GET", &path, None).is_ok_and(|is| is == true)
    }

    /// What the page has complained of in the console.
    pub(crate) fn errors(&self) -> Vec<String> {
        let entries = self
            .command("POST", "/se/log", Some(&json!({"type": "browser"})))
            .unwrap();
        entries
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["message"].to_string())
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = ask("DELETE", &self.session, None);
        }
        // The driver and browsers that it did not end.
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.driver), Signal::KILL);
        let _ = self.driver.wait();
    }
}
