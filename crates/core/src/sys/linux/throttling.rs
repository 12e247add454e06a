//! The time that a control group was kept from running, as it had used up its share of the processors.

use std::fs;
use std::path::{Path, PathBuf};

/// A group lies in no more groups than this.
const DEEPEST: usize = 16;

/// The counts of the groups that this process is in. They are found once, and opened for each look: nothing is left open.
#[derive(Debug, Default)]
pub struct Throttling(Vec<PathBuf>);

impl Throttling {
    /// Finds the groups of this process.
    pub fn find() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let paths = groups.lines().flat_map(folders).take(DEEPEST * 4);
        let counts = |folder: String| {
            let file = PathBuf::from(format!("{folder}/cpu.stat"));
            throttled(&read(&file)?).map(|_| file)
        };
        Self(paths.filter_map(counts).collect())
    }

    /// Nanoseconds for which they were kept from running, so far; of several groups, those of the one that was so for
    /// longest. Each processor counts on its own: with two, it may be two seconds in a second. None: no group counts.
    pub fn total(&self) -> Option<u64> {
        self.0.iter().filter_map(|file| throttled(&read(file)?)).max()
    }
}

fn read(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok()
}

/// The folders in which the group of a line of cgroups(7)'s `/proc/self/cgroup`, and all that it lies in, may be found.
fn folders(line: &str) -> Vec<String> {
    let mut parts = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { return vec![] };
    let roots: &[&str] = if controllers.is_empty() {
        &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
    } else if controllers.split(',').any(|name| name == "cpu") {
        &["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"]
    } else {
        return vec![];
    };
    // In a container the path may be one of the host's: then the root is this group.
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]).filter(|at| *at != 1);
    let mut paths: Vec<_> = ends.map(|end| path[..end].trim_end_matches('/')).collect();
    paths.dedup();
    roots.iter().flat_map(|root| paths.iter().rev().take(DEEPEST).map(move |path| format!("{root}{path}"))).collect()
}

/// Reads `cpu.stat` of the second version of control groups, or of the first.
fn throttled(text: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        let value: u64 = value.trim().parse().ok()?;
        match name {
            "throttled_usec" => value.checked_mul(1000),
            "throttled_time" => Some(value),
            _ => None,
        }
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_tell() {
        for (text, expected) in [
            ("usage_usec 7\nnr_periods 3\nnr_throttled 2\nthrottled_usec 5\n", Some(5000)),
            ("nr_periods 3\nnr_throttled 2\nthrottled_time 5\n", Some(5)),
            ("usage_usec 7\nuser_usec 3\n", None), // the root
            ("throttled_usec much", None),
            ("", None),
        ] {
            assert_eq!(throttled(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_group_and_all_that_it_lies_in_are_looked_for() {
        assert_eq!(
            folders("0::/a/b"),
            ["", "/unified"]
                .iter()
                .flat_map(|root| ["/a/b", "/a", ""].map(|path| format!("/sys/fs/cgroup{root}{path}")))
                .collect::<Vec<_>>()
        );
        assert_eq!(folders("4:cpu,cpuacct:/"), ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"]);
        for other in ["7:memory:/a", "nonsense", ""] {
            assert!(folders(other).is_empty(), "{other:?}");
        }
    }

    #[test]
    fn the_counts_of_this_process_never_go_back() {
        let throttling = Throttling::find();
        let before = throttling.total();
        assert!(throttling.total() >= before);
    }
}
