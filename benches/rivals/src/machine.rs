//! Where and of what something was measured.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;

/// Some lines of Markdown.
pub(crate) fn description() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "Commit {} of {}; {cores} cores of {}; Linux {}; {}; {}.\n",
        said("git", &["describe", "--always", "--dirty", "--exclude=*"]),
        said("git", &["log", "-1", "--format=%cs"]),
        cpu.map_or("unknown", |(_, model)| model),
        kernel.trim(),
        said("rustc", &["--version"]),
        said("redis-server", &["--version"]).split(" sha").next().unwrap_or_default(),
    )
}

/// The first line that a program says about this repository.
fn said(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok()
        .and_then(|text| text.lines().next().map(str::to_owned))
        .unwrap_or_else(|| format!("{program} unknown"))
}

/// Writes a page of results, and prints it.
pub(crate) fn publish(into: &Path, name: &str, title: &str, text: &str) {
    let page = format!("# {title}\n\n{}\n{text}", description());
    println!("{page}");
    let path = into.join(name).with_extension("md");
    fs::create_dir_all(into).and_then(|()| fs::write(&path, page)).unwrap_or_else(|error| {
        panic!("cannot write {}: {error}", path.display());
    });
}
