#!/usr/bin/env bash
# Builds the Debian package from a clone, with manual pages and completions, which the program makes itself.
# Needs cargo-deb (cargo install --locked cargo-deb); leaves target/debian/raid456_VERSION_ARCH.deb.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
cargo build --release --locked --package raid456 --bin raid456
# Where the package's metadata (Cargo.toml) looks for them, wherever the build is.
mkdir -p target/completions
"$target/release/raid456" docs man target/man
for shell in bash zsh fish; do
    "$target/release/raid456" docs completions "$shell" >"target/completions/raid456.$shell"
done
rm -rf "$target/debian"
cargo deb --no-build --locked --package raid456
if [[ $target != target ]]; then
    mkdir -p target/debian
    cp "$target"/debian/raid456_*.deb target/debian/
fi
