//! Rules over the sources that the compiler does not enforce: who may know whom, where unsafe code
//! may be, and how a file looks.
//!
//! Each rule is a function from texts to a list of problems. `the_tree_is_tidy` runs all of them over
//! the tree; the tests below it plant a violation of each and see it found.
//!
//! Not here: what clippy and rustc check (`Cargo.toml`, `.clippy.toml`).

#![expect(clippy::unwrap_used, reason = "test code may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers: who may have which of our crates as a normal dependency. Crates that are not in this
/// table may not exist.
const LAYERS: &[(&str, &[&str])] = &[
    ("parity", &[]),
    ("raid", &[]),
    ("reactor", &[]),
    ("nvme", &[]),
    ("device", &["nvme", "reactor"]),
    ("array", &["device", "parity", "raid", "reactor"]),
    ("rpc", &[]),
    ("perf", &["array", "device", "parity", "reactor"]),
    ("golden", &[]),
    ("e2e", &[]),
    ("fuzz", &["raid", "raid456", "rpc"]),
    ("sim", &["parity", "raid"]),
    ("raid456", &["array", "device", "nvme", "parity", "perf", "raid", "reactor", "rpc"]),
];

/// What a machine that decides and never acts has nothing to do with.
const OUTSIDE_WORLD: &[&str] = &[
    "crate::control",
    "crate::methods",
    "crate::cli",
    "std::fs",
    "std::net",
    "std::thread",
    "std::time",
    "std::process",
    "std::env",
    "std::os",
];

/// What the sources below a path may not name, and why.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    (
        "bdev/raid/src/",
        &["std::fs", "std::net", "std::thread", "std::time", "std::process", "std::env", "std::os"],
        "the core decides and never acts",
    ),
    (
        "bdev/parity/src/",
        &["std::fs", "std::net", "std::thread", "std::time", "std::process"],
        "kernels see slices and nothing else",
    ),
    (
        "bdev/nvme/src/",
        &["std::fs", "std::net", "std::thread", "std::time", "std::process", "std::env", "std::os"],
        "the language of NVMe is bytes and numbers",
    ),
    (
        "src/dm/",
        &[
            "crate::control",
            "crate::methods",
            "crate::cli",
            "serde_json",
            "std::fs",
            "std::net",
            "std::thread",
            "std::time",
            "std::process",
            "std::env",
        ],
        "the language of device-mapper is text and numbers",
    ),
    ("src/nvmf/connection", OUTSIDE_WORLD, "a connection is bytes in and bytes out"),
    ("src/nvmf/controller", OUTSIDE_WORLD, "a controller answers, and does nothing"),
    ("src/nvmf/nvm", OUTSIDE_WORLD, "commands are judged, not executed"),
    ("src/nvmf/subsystem", OUTSIDE_WORLD, "the model is told what there is"),
    (
        "src/control/",
        &["crate::methods", "crate::cli", "crate::metrics", "crate::status", "crate::web"],
        "control knows no JSON-RPC method and nobody who looks on",
    ),
    (
        "src/metrics/",
        &["crate::methods", "crate::cli", "crate::status", "crate::web"],
        "metrics are made of a survey",
    ),
    ("src/methods/", &["crate::cli"], "methods know no command line"),
];

/// The only files with unsafe code.
const UNSAFE_FILES: &[&str] = &[
    // Loads, stores and the one call behind each instruction set.
    "bdev/parity/src/aarch64/neon.rs",
    "bdev/parity/src/x86/avx2.rs",
    "bdev/parity/src/x86/avx512.rs",
    // Memory that travels by ownership, and the system calls that map it.
    "bdev/reactor/src/memory/block.rs",
    "bdev/reactor/src/memory/buf.rs",
    "bdev/reactor/src/memory/home.rs",
    "bdev/reactor/src/memory/mapping.rs",
    "bdev/reactor/src/memory/pool.rs",
    // The kernel's own interfaces, and memory as a device.
    "bdev/device/src/aio/abi.rs",
    "bdev/device/src/aio/context.rs",
    "bdev/device/src/malloc/memory.rs",
    "bdev/device/src/uring/ring.rs",
    // A foreign library, to compare with.
    "perf/src/isal.rs",
    // Global allocators that count.
    "bdev/array/tests/allocation_free.rs",
    "bdev/device/tests/allocation_free.rs",
    "bdev/reactor/tests/allocation_free.rs",
    "tests/nvmf_allocation_free.rs",
];

/// Longest file, in lines.
const LINES_MAX: usize = 800;

/// Put together, so that this file does not contain them.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
const UNFINISHED_CODE: &[&str] = &["todo!", "unimplemented!", "#[ignore"];

#[test]
fn the_tree_is_tidy() {
    let tree = Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(tree.sources.len() > 50, "only {} sources found", tree.sources.len());
    let mut problems = check_layers(&tree.manifests);
    problems.extend(check_unsafe_files(&tree.sources, UNSAFE_FILES));
    problems.extend(check_crate_roots(&tree.manifests, &tree.sources, UNSAFE_FILES));
    for (path, text) in &tree.sources {
        problems.extend(check_names(path, text));
        problems.extend(check_looks(path, text));
    }
    for (path, text) in &tree.others {
        problems.extend(check_finished(path, text));
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// Files by path from the top of the tree.
type Files = BTreeMap<String, String>;

#[derive(Default)]
struct Tree {
    /// `*.rs`
    sources: Files,
    /// `Cargo.toml`
    manifests: Files,
    /// Other text that people write.
    others: Files,
}

impl Tree {
    fn read(top: &Path) -> Self {
        let mut tree = Self::default();
        tree.read_directory(top, top);
        tree
    }

    fn read_directory(&mut self, top: &Path, directory: &Path) {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<PathBuf> = entries.collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !["target", "data", ".git"].contains(&name) {
                    self.read_directory(top, &path);
                }
                continue;
            }
            let extension = path.extension().and_then(|extension| extension.to_str());
            let files = match (name, extension) {
                (_, Some("rs")) => &mut self.sources,
                ("Cargo.toml", _) => &mut self.manifests,
                (_, Some("md" | "toml" | "sh" | "yml" | "yaml")) | ("run", _) => &mut self.others,
                _ => continue,
            };
            let relative = path.strip_prefix(top).unwrap().to_str().unwrap();
            files.insert(relative.to_owned(), fs::read_to_string(&path).unwrap());
        }
    }
}

/// What a manifest says, as far as the rules ask.
struct Manifest {
    package: Option<String>,
    /// Normal and build dependencies.
    dependencies: Vec<String>,
}

/// Reads the subset of TOML that manifests are written in: one entry a line.
fn read_manifest(text: &str) -> Manifest {
    let mut manifest = Manifest { package: None, dependencies: Vec::new() };
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
            // [dependencies.x] is an entry by itself.
            if let Some((kind, name)) = section.rsplit_once('.')
                && is_dependencies(kind)
            {
                manifest.dependencies.push(name.to_owned());
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let key = key.trim().split('.').next().unwrap();
        if section == "package" && key == "name" {
            manifest.package = Some(value.trim().trim_matches('"').to_owned());
        }
        if is_dependencies(section) {
            // A crate may hide behind another name.
            let renamed =
                value.split_once("package").and_then(|(_, after)| after.split('"').nth(1));
            manifest.dependencies.push(renamed.unwrap_or(key).to_owned());
        }
    }
    manifest
}

fn is_dependencies(section: &str) -> bool {
    let last = section.rsplit('.').next().unwrap();
    // The workspace's table lists what crates may choose from, it chooses nothing.
    section != "workspace.dependencies" && ["dependencies", "build-dependencies"].contains(&last)
}

fn check_layers(manifests: &Files) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in manifests {
        let manifest = read_manifest(text);
        let Some(package) = manifest.package else { continue };
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == package) else {
            problems.push(format!("{path}: crate {package} has no place in the layers"));
            continue;
        };
        let ours = |name: &&String| LAYERS.iter().any(|(layer, _)| layer == name);
        for dependency in manifest.dependencies.iter().filter(ours) {
            if !allowed.contains(&dependency.as_str()) {
                problems.push(format!("{path}: {package} must not depend on {dependency}"));
            }
        }
    }
    problems
}

fn check_names(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
    let code = code_of(text);
    for (below, names, why) in FORBIDDEN.iter().filter(|(below, ..)| path.starts_with(below)) {
        for name in names.iter().filter(|name| !is_test && has_word(&code, name)) {
            problems.push(format!("{path}: names {name}, but below {below} {why}"));
        }
    }
    problems
}

/// The list is exact: a file that has lost its unsafe code leaves it.
fn check_unsafe_files(sources: &Files, listed: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in sources {
        let is_listed = listed.contains(&path.as_str());
        match (has_word(&code_of(text), "unsafe"), is_listed) {
            (true, false) => problems.push(format!("{path}: unsafe code in a file without leave")),
            (false, true) => problems.push(format!("{path}: listed for unsafe code, has none")),
            (true, true) | (false, false) => {}
        }
    }
    let gone = listed.iter().filter(|path| !sources.contains_key(**path));
    problems.extend(gone.map(|path| format!("{path}: listed for unsafe code, does not exist")));
    problems
}

/// A crate forbids unsafe code, or denies it if it has files that are listed.
fn check_crate_roots(manifests: &Files, sources: &Files, listed: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in manifests {
        if read_manifest(text).package.is_none() {
            continue;
        }
        let src = path.replace("Cargo.toml", "src/");
        let attribute = match listed.iter().any(|file| file.starts_with(&src)) {
            true => "#![deny(unsafe_code)]",
            false => "#![forbid(unsafe_code)]",
        };
        for root in ["lib.rs", "main.rs"].map(|name| format!("{src}{name}")) {
            if let Some(text) = sources.get(&root)
                && !text.contains(attribute)
            {
                problems.push(format!("{root}: has no {attribute}"));
            }
        }
    }
    problems
}

fn check_looks(path: &str, text: &str) -> Vec<String> {
    let mut problems = check_finished(path, text);
    let lines = text.lines().count();
    if lines > LINES_MAX {
        problems.push(format!("{path}: {lines} lines, at most {LINES_MAX}"));
    }
    if !text.starts_with("//! ") {
        problems.push(format!("{path}: does not open with //! and what it is for"));
    }
    let code = code_of(text);
    for unfinished in UNFINISHED_CODE.iter().filter(|word| code.contains(**word)) {
        problems.push(format!("{path}: {unfinished}"));
    }
    problems
}

fn check_finished(path: &str, text: &str) -> Vec<String> {
    let unfinished = UNFINISHED.iter().filter(|word| has_word(text, word));
    unfinished.map(|word| format!("{path}: {word}")).collect()
}

/// Whether `word` stands in `text` on its own.
fn has_word(text: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

/// The text without comments and without the contents of string and character literals.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skipped = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment_len(rest),
            '"' => string_len(rest),
            'r' if !after_word => raw_string_len(rest),
            'b' if rest.starts_with("br") && !after_word => match raw_string_len(&rest[1..]) {
                0 => 0,
                len => len + 1,
            },
            '\'' => char_len(rest),
            _ => 0,
        };
        match skipped {
            0 => code.push(c),
            _ => code.push(' '),
        }
        rest = &rest[skipped.max(c.len_utf8())..];
    }
    code
}

/// Block comments nest.
fn block_comment_len(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        let step = match () {
            () if rest.starts_with(b"/*") => {
                depth += 1;
                2
            }
            () if rest.starts_with(b"*/") => {
                depth -= 1;
                2
            }
            () => 1,
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// 0 if it is none.
fn raw_string_len(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    let Some(body) = text[1 + hashes..].strip_prefix('"') else { return 0 };
    let end = format!("\"{}", "#".repeat(hashes));
    body.find(&end).map_or(text.len(), |at| 1 + hashes + 1 + at + end.len())
}

/// 0 if it is a lifetime or a label.
fn char_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    let Some((_, first)) = chars.next() else { return 0 };
    if first == '\\' {
        // The character after the backslash may itself be a quote.
        let end = chars.skip(1).find(|(_, c)| *c == '\'');
        return end.map_or(0, |(at, _)| at + 1);
    }
    match chars.next() {
        Some((at, '\'')) => at + 1,
        _ => 0,
    }
}

fn files(entries: &[(&str, &str)]) -> Files {
    entries.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

/// Goal: comments and literals do not count as code, whatever is in them. Method: every form around
/// a word, and the word itself between them.
#[test]
fn literals_and_comments_are_not_code() {
    for text in [
        "// unsafe",
        "/* unsafe /* nested unsafe */ unsafe */",
        "\"unsafe\"",
        "\"\\\" unsafe\"",
        "\"\\\\\" ; \"unsafe\"",
        "r\"unsafe \\\"",
        "r#\"unsafe \" unsafe\"#",
        "br#\"unsafe\"#",
        "b\"unsafe\"",
        "let c = '\"'; // unsafe",
        "let c = '\\''; // unsafe",
        "let c = '\\u{22}'; // unsafe",
        "#![deny(unsafe_code)]",
    ] {
        assert!(!has_word(&code_of(text), "unsafe"), "{text}: {}", code_of(text));
        assert!(has_word(&code_of(&format!("{text}\nunsafe {{}}")), "unsafe"), "{text}");
    }
    for text in ["fn f<'a>(x: &'a str) { unsafe { x } }", "/// \"\nunsafe fn f() {}", "for 'r in"] {
        assert_eq!(has_word(&code_of(text), "unsafe"), text.contains("unsafe"), "{text}");
    }
}

#[test]
fn a_dependency_against_the_layers_is_found() {
    let package = |name: &str, rest: &str| format!("[package]\nname = \"{name}\"\n{rest}");
    let fine = [
        package("device", "[dependencies]\nreactor.workspace = true\nlibc = \"1\""),
        package("raid", "[dev-dependencies]\ngolden.workspace = true"),
        "[workspace.dependencies]\nrpc = { path = \"rpc\" }".to_owned(),
    ];
    for text in &fine {
        assert_eq!(check_layers(&files(&[("Cargo.toml", text)])), Vec::<String>::new(), "{text}");
    }
    let wrong = [
        package("device", "[dependencies]\narray.workspace = true"),
        package("rpc", "[dependencies]\nraid = { path = \"../bdev/raid\" }"),
        package("perf", "[dependencies.raid456]\npath = \"..\""),
        package("parity", "[build-dependencies]\nreactor = \"1\""),
        package("raid", "[target.'cfg(unix)'.dependencies]\ndevice.workspace = true"),
        package("raid", "[dependencies]\nother = { package = \"array\", version = \"1\" }"),
        package("newcomer", ""),
    ];
    for text in &wrong {
        assert_eq!(check_layers(&files(&[("Cargo.toml", text)])).len(), 1, "{text}");
    }
}

#[test]
fn a_name_against_the_layers_is_found() {
    let found = |path, text| check_names(path, text).len();
    assert_eq!(found("bdev/raid/src/plan.rs", "//! x\nuse std::time::Instant;"), 1);
    assert_eq!(found("bdev/raid/src/plan.rs", "//! x\n// std::time::Instant"), 0);
    assert_eq!(found("bdev/raid/src/plan/tests.rs", "//! x\nuse std::fs;"), 0);
    assert_eq!(found("bdev/device/src/io.rs", "//! x\nuse std::fs;"), 0);
    assert_eq!(found("src/control/mod.rs", "//! x\nuse crate::methods::Methods;"), 1);
}

#[test]
fn unsafe_code_without_leave_is_found() {
    let sources = files(&[
        ("a/src/lib.rs", "//! a\nunsafe fn f() {}"),
        ("a/src/lost.rs", "//! a\n// unsafe no more"),
    ]);
    assert_eq!(check_unsafe_files(&sources, &["a/src/lib.rs"]), Vec::<String>::new());
    assert_eq!(check_unsafe_files(&sources, &[]).len(), 1);
    assert_eq!(check_unsafe_files(&sources, &["a/src/lib.rs", "a/src/lost.rs"]).len(), 1);
    assert_eq!(check_unsafe_files(&sources, &["a/src/lib.rs", "a/src/gone.rs"]).len(), 1);

    let manifests = files(&[("a/Cargo.toml", "[package]\nname = \"a\"")]);
    let roots = |text, listed: &[&str]| {
        let sources =
            files(&[("a/src/lib.rs", text), ("a/src/main.rs", "#![forbid(unsafe_code)]")]);
        check_crate_roots(&manifests, &sources, listed).len()
    };
    assert_eq!(roots("//! a\n#![forbid(unsafe_code)]", &[]), 0);
    assert_eq!(roots("//! a\n#![deny(unsafe_code)]", &[]), 1);
    assert_eq!(roots("//! a", &[]), 1);
    assert_eq!(roots("//! a\n#![deny(unsafe_code)]", &["a/src/mem.rs"]), 1, "main.rs forbids");
}

#[test]
fn an_untidy_file_is_found() {
    let found = |text: &str| check_looks("a.rs", text).len();
    assert_eq!(found("//! What it is for.\nfn f() {}\n"), 0);
    assert_eq!(found("fn f() {}\n"), 1);
    assert_eq!(found("//!\nfn f() {}\n"), 1);
    assert_eq!(found(&format!("//! x\n{}", "\n".repeat(LINES_MAX - 1))), 0);
    assert_eq!(found(&format!("//! x\n{}", "\n".repeat(LINES_MAX))), 1);
    for word in UNFINISHED {
        assert_eq!(found(&format!("//! x\n// {word}: later")), 1, "{word}");
        assert_eq!(found(&format!("//! x\n// {word}S")), 0, "{word}");
        assert_eq!(check_finished("README.md", &format!("a {word} b")).len(), 1);
    }
    for code in UNFINISHED_CODE {
        assert_eq!(found(&format!("//! x\nfn f() {{ {code} }}")), 1, "{code}");
        assert_eq!(found(&format!("//! x\nconst A: &str = \"{code}\";")), 0, "{code}");
    }
}
