//! Pages of `compare` in a real browser: Debian's chromium, without a window. Skipped where there is none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::world::World;

/// The head of the page forbids every script; a copy for a test allows its own.
const POLICY: &str = "<meta http-equiv=Content-Security-Policy";

/// Opens everything that can be opened, then tells what there is to see.
const PROBE: &str = r#"<script>addEventListener("load", () => {
  document.querySelectorAll("details").forEach(one => one.open = true);
  const luminance = text => {
    const parts = text.match(/[\d.]+/g).slice(0, 3).map(part => {
      const value = part / 255;
      return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/, 0\)$/.test(color)) return color;
    }
    return "rgb(255, 255, 255)";
  };
  let least = 99, where = "";
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !element.getClientRects().length) continue;
    const [a, b] = [getComputedStyle(element).color, ground(element)].map(luminance);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < least) { least = contrast; where = element.className + ": " + element.textContent.slice(0, 40); }
  }
  const tables = [...document.querySelectorAll("table")];
  const told = {
    page: location.pathname.split("/").pop(),
    width: innerWidth,
    scroll: document.documentElement.scrollWidth,
    tables: tables.length,
    seen: tables.filter(table => table.offsetHeight > 20).length,
    maps: [...document.querySelectorAll("[role=img]")].filter(map => map.getAttribute("aria-label")).length,
    boxes: document.querySelectorAll(".t").length,
    dark: luminance(getComputedStyle(document.body).backgroundColor) < 0.2,
    contrast: least, where,
  };
  parent.postMessage(JSON.stringify(told), "*");
});</script>"#;

/// A page that shows others at widths that no window can have, and prints what they tell.
const FRAMES: &str = r#"<!DOCTYPE html><meta name=color-scheme content="light dark"><body>
<script>
const told = [];
addEventListener("message", event => {
  told.push(JSON.parse(event.data));
  if (told.length === document.querySelectorAll("iframe").length)
    document.body.textContent = "TOLD" + JSON.stringify(told) + "DLOT";
});
</script>"#;

struct Browser {
    world: World,
    program: PathBuf,
}

impl Browser {
    /// A browser, and a world with two images.
    fn new() -> Option<Browser> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path)
            .flat_map(|folder| [folder.join("chromium"), folder.join("chromium-browser")])
            .find(|program| program.is_file());
        let Some(program) = program else {
            println!("skipped: no chromium here");
            return None;
        };
        let world = World::new()?;
        let files = world.path("context/files/usr/lib");
        std::fs::create_dir_all(&files).unwrap();
        for (name, size) in [
            ("a", 60_000),
            (&"long".repeat(60), 30_000),
            ("c", 20_000),
            ("d", 10_000),
        ] {
            std::fs::write(files.join(name), vec![b'x'; size]).unwrap();
        }
        world.build("FROM busybox\nCOPY files /\nRUN rm /usr/lib/c\n", "-q -t before");
        world.build("FROM scratch\nCOPY files/usr/lib/a /app\nUSER 1\n", "-q -t after");
        Some(Browser { world, program })
    }

    /// What the browser prints.
    fn run(&self, page: &str, arguments: &[&str]) -> String {
        let home = self.world.path("home");
        let output = Command::new(&self.program)
            .env("HOME", &home)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .args([
                "--disable-default-apps",
                "--disable-extensions",
                "--metrics-recording-only",
            ])
            .args(["--disable-features=OptimizationHints,MediaRouter,Translate,NetworkTimeServiceQuerying"])
            .arg(format!("--user-data-dir={}", home.join("browser").display()))
            .args(arguments)
            .arg(format!("file://{}", self.world.path(page).display()))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes a page, and a copy of it that tells about itself.
    fn page(&self, images: &str, probe: &str) -> String {
        let page = self.world.ok(&format!("compare --format html {images}"));
        self.world.write("page.html", &page);
        let (start, policy) = page.split_once(POLICY).unwrap();
        let (_, end) = policy.split_once('>').unwrap();
        self.world.write(probe, &format!("{start}{PROBE}{end}"));
        page
    }

    /// What pages tell about themselves at each of these widths.
    fn probe(&self, pages: &[&str], widths: &[u32], dark: bool) -> Vec<Value> {
        let mut frames = String::from(FRAMES);
        for page in pages {
            for width in widths {
                frames.push_str(&format!(
                    "<iframe src={page} style=\"border:0\" width={width} height=900></iframe>"
                ));
            }
        }
        self.world.write("frames.html", &frames);
        let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!dark));
        let dom = self.run(
            "frames.html",
            &[
                "--dump-dom",
                "--window-size=1400,900",
                "--virtual-time-budget=20000",
                &scheme,
            ],
        );
        let told = dom
            .rsplit_once("TOLD")
            .and_then(|(_, rest)| rest.split_once("DLOT"));
        let text = told.unwrap_or_else(|| panic!("{dom}")).0;
        serde_json::from_str(
            &text
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&"),
        )
        .unwrap()
    }
}

#[test]
fn a_page_fits_phones_and_both_schemes() {
    let Some(browser) = Browser::new() else { return };
    let pages = [
        ("one.html", 1),
        ("two.html", 2),
        ("four.html", 4),
        ("twelve.html", 12),
    ];
    for (page, count) in pages {
        let images: Vec<&str> = ["before", "after"].into_iter().cycle().take(count).collect();
        browser.page(&images.join(" "), page);
    }
    let names = pages.map(|(page, _)| page);
    for dark in [false, true] {
        let told = browser.probe(&names, &[375, 700, 1280], dark);
        assert_eq!(told.len(), 12, "{told:?}");
        for told in told {
            let about = format!("dark {dark}: {told}");
            assert!(told["scroll"].as_u64() <= told["width"].as_u64(), "{about}");
            assert!(
                [375, 700, 1280].contains(&told["width"].as_u64().unwrap()),
                "{about}"
            );
            assert_eq!(told["dark"], dark, "{about}");
            assert_eq!(told["seen"], told["tables"], "{about}");
            assert!(told["tables"].as_u64().unwrap() >= 4, "{about}");
            let (_, count) = pages.into_iter().find(|(page, _)| told["page"] == *page).unwrap();
            assert_eq!(told["maps"], 2 * count, "{about}");
            assert!(told["boxes"].as_u64().unwrap() > 4, "{about}");
            // WCAG's AA for text of any size.
            assert!(told["contrast"].as_f64().unwrap() >= 4.5, "{about}");
        }
    }
}

#[test]
fn a_page_needs_no_script() {
    let Some(browser) = Browser::new() else { return };
    let page = browser.page("before after", "probe.html");
    assert!(!page.contains("<script"));
    // A frame with `sandbox` runs no script.
    let picture = |attribute: &str, page: &str| {
        let frame = format!("<body><iframe {attribute} src={page} width=800 height=4000></iframe></body>");
        browser.world.write("frame.html", &frame);
        let path = browser.world.path("picture.png");
        let shot = format!("--screenshot={}", path.display());
        browser.run("frame.html", &["--window-size=840,4100", &shot]);
        std::fs::read(&path).unwrap()
    };
    let without = picture("sandbox=allow-same-origin", "page.html");
    let with = picture("", "page.html");
    assert!(
        without.len().abs_diff(with.len()) < with.len() / 20,
        "{} and {}",
        without.len(),
        with.len()
    );
    browser.world.write("empty.html", "<!DOCTYPE html>");
    assert!(without.len() > 5 * picture("sandbox=allow-same-origin", "empty.html").len());
}

/// Takes connections, answers none, and remembers what was asked for.
fn proxy() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let known = Arc::clone(&asked);
    let answer = move |mut stream: TcpStream| {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).unwrap_or(0);
        let request = String::from_utf8_lossy(&buffer[..length]);
        known
            .lock()
            .unwrap()
            .push(request.lines().next().unwrap_or_default().to_owned());
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    // Ends with the test's process.
    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    (port, asked)
}

#[test]
fn a_page_asks_for_nothing() {
    let Some(browser) = Browser::new() else { return };
    let page = browser.page("before after", "probe.html");
    let asked_by = |page: &str| {
        let (port, asked) = proxy();
        browser.run(
            page,
            &["--dump-dom", &format!("--proxy-server=http://127.0.0.1:{port}")],
        );
        let asked = asked.lock().unwrap();
        // The browser's own questions are not the page's.
        asked
            .iter()
            .filter(|line| !line.contains("google"))
            .cloned()
            .collect::<Vec<_>>()
    };
    let none: [String; 0] = [];
    assert_eq!(asked_by("page.html"), none);
    // The same without its policy, which would stop requests that it should not make in the first place.
    assert_eq!(asked_by("probe.html"), none);
    let image = "<img src=\"http://example.invalid/x.png\">";
    browser
        .world
        .write("probe.html", &format!("<body>{image}</body>"));
    let asked = asked_by("probe.html");
    assert!(
        asked.iter().any(|line| line.contains("example.invalid/x.png")),
        "{asked:?}"
    );
    // And the policy does stop one.
    browser
        .world
        .write("probe.html", &page.replace("<main", &format!("{image}<main")));
    assert_eq!(asked_by("probe.html"), none);
}
