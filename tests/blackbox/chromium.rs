//! Headless Chromium, driven over its DevTools protocol: pages that live while a service changes, keys, sizes.
//!
//! ```text
//!   test --in.fifo, fd 3--> chromium --remote-debugging-pipe --fd 4, out.fifo--> a thread --> test
//!          {"id":1,"method":"Page.navigate",...}\0                 {"id":1,"result":{...}}\0
//! ```
//!
//! Pipes instead of a WebSocket: JSON with a zero byte behind it, and no crate for that.
//!
//! Not here: what a page has to show (`page`).

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{PATIENCE, Place, output_of};

/// A browser with one page.
pub(crate) struct Chromium {
    child: Child,
    to: File,
    answers: Receiver<Value>,
    calls: u64,
    session: Option<String>,
}

impl Chromium {
    /// Starts it with an empty page of this width, as on a phone.
    pub(crate) fn start(program: &Path, place: &Place, width: u32) -> Self {
        let [to, from] = ["in.fifo", "out.fifo"].map(|name| place.path(name));
        let mut make = Command::new("mkfifo");
        make.args([&to, &from]);
        assert!(output_of(make).status.success());
        // The shell opens what the standard library cannot hand over: descriptors 3 and 4.
        let child = Command::new("bash")
            .args(["-c", "exec \"$0\" \"$@\" 3<in.fifo 4>out.fifo"])
            .arg(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", place.path("driven")))
            .current_dir(place.data())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = OpenOptions::new().write(true).open(&to).unwrap();
        let from = BufReader::new(File::open(&from).unwrap());
        let (tell, answers) = mpsc::channel();
        thread::spawn(move || {
            for message in from.split(0).map_while(Result::ok) {
                // Whoever has gone does not listen.
                let _ = tell.send(serde_json::from_slice(&message).unwrap());
            }
        });
        let mut browser = Self { child, to, answers, calls: 0, session: None };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        browser.resize(width);
        browser
    }

    /// Calls a method of the protocol that has to succeed.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut request = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        write!(self.to, "{request}\0").unwrap();
        loop {
            let mut answer = self.answers.recv_timeout(PATIENCE).expect("an answer");
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// Makes the page as wide as a phone of so many pixels.
    pub(crate) fn resize(&mut self, width: u32) {
        let phone =
            json!({ "width": width, "height": 740, "deviceScaleFactor": 2, "mobile": true });
        self.call("Emulation.setDeviceMetricsOverride", phone);
    }

    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// The value of an expression in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait_until(&mut self, expression: &str) {
        let step = Duration::from_millis(50);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            if self.value(expression) == json!(true) {
                return;
            }
            thread::park_timeout(step);
        }
        let page = self.value("document.documentElement.outerHTML");
        panic!("not within {PATIENCE:?}: {expression}:\n{page}");
    }

    /// Presses a key and lets it go.
    pub(crate) fn press(&mut self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key,
                                    "windowsVirtualKeyCode": code });
            if key == "Enter" && kind == "keyDown" {
                event["text"] = json!("\r");
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Fails when it has ended already, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
