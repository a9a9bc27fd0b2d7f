//! The status page in a real browser, headless Chromium: what it shows of a service that is healthy, degraded,
//! rebuilding, has lost an array, or does not answer.
//!
//! The assertions are about the document as the browser has it after a few seconds, or, where something changes
//! under the eyes of a user, about one page that stays open. Pictures are kept beside the build, in
//! `target/tmp/screenshots`, for people to look at.
//!
//! Not here: the numbers (`src/status`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::daemon::{Daemon, Place, entry, malloc, output_of};
use crate::observe::{get, settle, web_address};
use crate::tools;

struct Browser<'a> {
    program: PathBuf,
    place: &'a Place,
}

impl Browser<'_> {
    fn command(&self, size: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args(["--disable-dev-shm-usage", "--no-first-run", "--virtual-time-budget=7000"])
            .arg(format!("--window-size={size}"))
            .arg(format!("--user-data-dir={}", self.place.path("browser")));
        command
    }

    /// The document as it is after a few turns of the page.
    fn document(&self, url: &str) -> String {
        let mut command = self.command("1100,1000");
        command.args(["--dump-dom", url]);
        let output = output_of(command);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Keeps a picture; it has to be one.
    fn picture(&self, url: &str, name: &str, size: &str, more: &[&str]) {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(format!("{name}.png"));
        let mut command = self.command(size);
        command.arg(format!("--screenshot={}", path.display())).args(more).arg(url);
        let output = output_of(command);
        assert!(output.status.success(), "{output:?}");
        assert!(fs::metadata(&path).unwrap().len() > 5000, "{path:?} is empty");
    }
}

/// A RAID 5 with two members that can be made to fail, and a log.
fn start(place: &Place, port: &str) -> Daemon {
    let mut entries: Vec<Value> = ["m0", "m1", "m2", "m3", "m4"]
        .map(|name| entry("bdev_malloc_create", malloc(name, 32)))
        .into();
    entries.extend([
        entry("bdev_malloc_create", malloc("log0", 1)),
        entry("bdev_error_create", json!({ "base_name": "m2" })),
        entry("bdev_error_create", json!({ "base_name": "m4" })),
        entry(
            "bdev_raid_create",
            json!({ "name": "r0", "raid_level": "raid5", "strip_size_kb": 64, "superblock": true,
                    "base_bdevs": ["m0", "m1", "EE_m2", "m3"], "log_bdev": "log0",
                    "region_size_kb": 1024 }),
        ),
    ]);
    let config = place.config(&entries);
    place.start_with(&[
        "--config".as_ref(),
        config.as_os_str(),
        "--metrics".as_ref(),
        port.as_ref(),
    ])
}

fn assert_shows(document: &str, what: &[&str]) {
    for text in what {
        assert!(document.contains(text), "{text:?} is not in:\n{document}");
    }
}

/// Goal: the page shows how it is, for eyes, for keyboards and for screen readers.
#[test]
fn the_page_shows_how_it_is() {
    let Some(program) = tools::find("chromium", "chromium") else { return };
    let place = Place::new();
    let daemon = start(&place, "0");
    let browser = Browser { program, place: &place };
    let url = format!("http://{}/", web_address(&daemon));
    settle(&daemon);

    let healthy = browser.document(&url);
    assert_shows(&healthy, &["data-health=\"healthy\"", ">Healthy<", "data-state=\"online\""]);
    assert_shows(&healthy, &["raid5 left-symmetric, strip 64.0 KiB", "Log log0: alive"]);
    assert_shows(&healthy, &["<title>raid456</title>", "role=\"status\"", "aria-live=\"polite\""]);
    assert_eq!(healthy.matches("<tr data-state=\"in_sync\"").count(), 4, "{healthy}");
    assert_shows(&healthy, &["Core 0: ", "tabindex=\"0\"", "<summary>Members</summary>"]);
    assert_shows(&healthy, &["data-type=\"raid_online\"", "points=\""]);
    browser.picture(&url, "healthy", "1100,1000", &[]);
    browser.picture(&url, "healthy-phone", "412,915", &[]);
    let dark = ["--blink-settings=preferredColorScheme=0"];
    browser.picture(&url, "healthy-dark", "1100,1000", &dark);

    daemon.ask("bdev_raid_remove_base_bdev", json!({ "name": "m3" }));
    let degraded = browser.document(&url);
    let reason = "array r0 is degraded: 1 of 4 members not in sync";
    assert_shows(&degraded, &["data-health=\"warning\"", reason]);
    assert_shows(&degraded, &["data-state=\"degraded\"", "<tr data-state=\"missing\""]);
    assert_shows(&degraded, &["<title>Warning: raid456</title>"]);
    browser.picture(&url, "degraded", "1100,1000", &[]);

    let slowly = json!({ "name": "r0", "min_kb_per_s": 1024, "max_kb_per_s": 1024 });
    daemon.ask("bdev_raid_set_rates", slowly);
    daemon.ask("bdev_raid_add_base_bdev", json!({ "raid_bdev": "r0", "base_bdev": "EE_m4" }));
    daemon.wait_until("rebuilding", |daemon| {
        daemon.ask("bdev_raid_get_bdevs", json!({}))[0]["sync_action"] == "recover"
    });
    let rebuilding = browser.document(&url);
    assert_shows(
        &rebuilding,
        &["data-sync=\"recover\"", "recover: ", "<tr data-state=\"rebuilding\""],
    );
    assert!(
        !rebuilding.contains(
            "<progress max=\"1\" aria-label=\"Progress of the background action\" hidden"
        )
    );
    browser.picture(&url, "rebuilding", "1100,1000", &[]);

    let fast = json!({ "name": "r0", "min_kb_per_s": 1 << 20, "max_kb_per_s": 0 });
    daemon.ask("bdev_raid_set_rates", fast);
    daemon.wait_until("whole again", |daemon| {
        get(daemon, "/status.json", "").1.contains("\"health\":\"healthy\"")
    });
    for name in ["EE_m2", "EE_m4"] {
        let gone = json!({ "name": name, "io_type": "all", "error_type": "gone" });
        daemon.ask("bdev_error_inject_error", gone);
    }
    daemon.ask("bdev_raid_message", json!({ "name": "r0", "message": "check" }));
    daemon.wait_until("broken", |daemon| {
        get(daemon, "/status.json", "").1.contains("\"health\":\"critical\"")
    });
    let offline = browser.document(&url);
    assert_shows(&offline, &["data-health=\"critical\"", "data-state=\"failed\""]);
    assert_shows(&offline, &["array r0 has lost more than parity can stand for"]);
    browser.picture(&url, "offline", "1100,1000", &[]);
    // What is lost cannot be flushed, so it does not end well.
    assert_eq!(daemon.end(Signal::TERM).code(), Some(1));
}

/// Goal: a page whose service does not answer says so, and does not show old numbers as new ones. Method:
/// the page without any service behind it.
#[test]
fn a_page_without_a_service_says_so() {
    let Some(program) = tools::find("chromium", "chromium") else { return };
    let place = Place::new();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/page.html");
    let copy = place.path("page.html");
    fs::copy(page, &copy).unwrap();
    let browser = Browser { program, place: &place };
    let document = browser.document(&format!("file://{copy}"));
    assert_shows(&document, &["data-health=\"unreachable\"", "The service does not answer (yet)"]);
    assert_shows(&document, &["<title>No answer: raid456</title>"]);
    browser.picture(&format!("file://{copy}"), "unreachable", "1100,400", &[]);
}

/// What has the keyboard, in words.
const FOCUSED: &str = "(e => e.tagName + ' ' + (e.getAttribute('aria-label') || e.textContent))\
                       (document.activeElement)";

/// Goal: the page shows changes without being loaded again: a member that goes, the service that goes, and that
/// it is there again. Method: one browser looks on; a mark in the page is gone if it was loaded anew.
#[test]
fn the_page_follows_the_service() {
    let Some(program) = tools::find("chromium", "chromium") else { return };
    let place = Place::new();
    let daemon = start(&place, "0");
    let address = web_address(&daemon).to_owned();
    let mut browser = Chromium::start(&program, &place, 412);
    browser.open(&format!("http://{address}/"));
    browser.wait_until("document.querySelector('#health')?.dataset.health === 'healthy'");
    browser.value("window.marked = true");
    assert_eq!(
        browser.value("document.querySelector('[data-array=r0] .pill').textContent"),
        "online"
    );

    settle(&daemon);
    daemon.ask("bdev_raid_remove_base_bdev", json!({ "name": "m3" }));
    browser.wait_until("document.querySelector('[data-array=r0]').dataset.state === 'degraded'");
    browser.wait_until("document.querySelectorAll('tr[data-state=missing]').length === 1");
    browser.wait_until("document.title === 'Warning: raid456'");
    let events = "[...document.querySelectorAll('#events li')].map(e => e.dataset.type)";
    assert!(browser.value(events).to_string().contains("raid_degraded"), "{events}");

    let _ = daemon.end(Signal::KILL);
    browser.wait_until("document.querySelector('#health').dataset.health === 'unreachable'");
    let said = browser.value("document.querySelector('#health').textContent");
    assert!(said.as_str().unwrap().starts_with("The service does not answer (since "), "{said}");
    assert_eq!(browser.value("document.title"), "No answer: raid456");

    let (_, port) = address.rsplit_once(':').unwrap();
    let daemon = start(&place, port);
    browser.wait_until("document.querySelector('#health').dataset.health === 'healthy'");
    assert_eq!(browser.value("document.title"), "raid456");
    assert_eq!(browser.value("document.querySelectorAll('tr[data-state=in_sync]').length"), 4);
    assert_eq!(browser.value("window.marked"), true, "it was loaded anew");
    daemon.stop();
}

/// Goal: on a phone nothing but the members' table is wider than the screen, and all that scrolls or opens can be
/// reached, seen and used with the keyboard, in the order in which it stands.
#[test]
fn the_page_fits_phones_and_keyboards() {
    let Some(program) = tools::find("chromium", "chromium") else { return };
    let place = Place::new();
    let daemon = start(&place, "0");
    settle(&daemon);
    daemon.ask("bdev_raid_remove_base_bdev", json!({ "name": "m3" }));
    let mut browser = Chromium::start(&program, &place, 412);
    browser.open(&format!("http://{}/", web_address(&daemon)));
    browser.wait_until("document.querySelector('#health')?.dataset.health === 'warning'");
    let scroll = "document.querySelector('.scroll')";
    // 320 is what WCAG's reflow asks for.
    for width in [320, 360, 412] {
        browser.resize(width);
        let widths = "[innerWidth, visualViewport.scale, document.documentElement.scrollWidth]";
        assert_eq!(browser.value(widths), json!([width, 1, width]));
        let wider = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && \
                     e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML)";
        assert_eq!(browser.value(wider), json!([]));
        assert_eq!(browser.value(&format!("{scroll}.scrollWidth > {scroll}.clientWidth")), true);
    }

    let mut order = Vec::new();
    for _ in 0..4 {
        browser.press("Tab", 9);
        order.push(browser.value(FOCUSED).as_str().unwrap().to_owned());
        let outline = browser.value("getComputedStyle(document.activeElement).outlineStyle");
        assert_ne!(outline, "none", "{order:?}");
    }
    let expected = ["SUMMARY Members", "DIV Members of r0", "A status.json", "A metrics"];
    assert_eq!(order, expected);
    browser.value(&format!("{scroll}.focus()"));
    browser.press("ArrowRight", 39);
    browser.wait_until(&format!("{scroll}.scrollLeft > 0"));
    browser.value("document.querySelector('summary').focus()");
    browser.press("Enter", 13);
    browser.wait_until("!document.querySelector('details').open");
    daemon.stop();
}
