//! What each scenario reports.

use crate::bench;
use serde_json::Value;
use vkmps_tests::binaries::output_of;

#[test]
fn throughput_reports_processes_daemon_and_limit() {
    let report = Report::of("throughput", &["--clients", "2", "--depth", "3"]);
    report.expect_arms(&["separate", "daemon", "limit"]);
    report.expect_ratios(&["daemon_vs_separate", "daemon_vs_limit"]);
    let daemon = report.arm("daemon");
    assert_eq!(
        (&daemon["clients"], &daemon["depth"]),
        (&2.into(), &3.into())
    );
    let settings = &report.last["settings"];
    assert!(settings["LP_NUM_THREADS"].is_string(), "{settings}");
}

#[test]
fn throughput_of_nothing_is_compared_with_single_submits_of_one_process() {
    let report = Report::of("throughput", &["--clients", "1", "--kernel", "noop"]);
    report.expect_arms(&["separate", "daemon", "limit", "inprocess"]);
    let ratios = [
        "daemon_vs_separate",
        "daemon_vs_limit",
        "daemon_vs_inprocess",
        "daemon_vs_direct",
    ];
    report.expect_ratios(&ratios);
}

#[test]
fn latency_reports_both_ways_to_wait_in_process_and_the_daemon() {
    let report = Report::of("latency", &[]);
    report.expect_arms(&["inprocess_fence", "inprocess_polling", "daemon"]);
    report.expect_ratios(&["daemon_vs_inprocess"]);
    let daemon = report.arm("daemon");
    assert!(
        daemon["p50_us"].is_f64() && daemon["p99_us"].is_f64(),
        "{daemon}"
    );
}

#[test]
fn bandwidth_reports_direct_copies_and_the_daemon() {
    let report = Report::of("bandwidth", &[]);
    report.expect_arms(&[
        "direct_write_64MiB",
        "daemon_write_64MiB",
        "direct_read_64MiB",
        "daemon_read_64MiB",
    ]);
    report.expect_ratios(&["daemon_vs_direct"]);
    assert_eq!(
        report.last["settings"]["zero_copy"], true,
        "the software device computes in host memory"
    );
}

#[test]
fn startup_reports_an_own_device_and_the_daemon() {
    let report = Report::of("startup", &[]);
    report.expect_arms(&["separate", "daemon"]);
    report.expect_ratios(&["daemon_vs_separate"]);
}

#[test]
fn idle_reports_the_daemon_with_and_without_clients() {
    let report = Report::of("idle", &["--clients", "8"]);
    report.expect_arms(&["cpu", "memory_rss", "per_client_rss"]);
    let clients: Vec<&Value> = report.rows.iter().map(|row| &row["clients"]).collect();
    assert!(clients.contains(&&0.into()) && clients.contains(&&8.into()));
}

#[test]
fn priority_reports_the_foreground_with_and_without_a_background() {
    let report = Report::of("priority", &["--kernel-ms", "0.5"]);
    for place in ["daemon", "separate"] {
        let alone = report.arm(&format!("{place} foreground"));
        assert!(alone["p99_us"].is_f64() && alone["value"] == 0.0, "{alone}");
    }
    for arm in ["daemon high", "daemon realtime", "daemon equal", "separate"] {
        let both = report.arm(arm);
        assert!(both["p99_us"].is_f64() && both["value"] != 0.0, "{both}");
    }
    report.expect_ratios(&[
        "background_kept",
        "background_kept_realtime",
        "background_kept_equal",
        "background_kept_separate",
        "foreground_vs_alone",
        "foreground_vs_alone_realtime",
        "foreground_vs_alone_separate",
    ]);
}

#[test]
fn fairness_reports_an_index_and_every_clients_share() {
    let few = ["--clients", "2", "--kernel-ms", "0.1", "--verbose"];
    let report = Report::of("fairness", &few);
    report.expect_arms(&["daemon x8 alone", "separate 2", "daemon 2 #1 x8"]);
    let shares =
        ["daemon 2 #0 x1", "daemon 2 #1 x8"].map(|name| report.arm(name)["value"].as_f64());
    let sum: f64 = shares.into_iter().flatten().sum();
    assert!((sum - 2.0).abs() < 1e-6, "{shares:?}");
    report.expect_ratios(&["jain", "jain_separate", "kept daemon 2"]);
    let users = report.last["ratios"]["user_share"].is_f64();
    let skipped = report.last["settings"]["users 1:7"].is_string();
    assert!(users != skipped, "{}", report.last);
}

#[test]
fn caps_reports_what_each_client_gets_of_what_it_does_alone() {
    let report = Report::of("caps", &["--kernel-ms", "0.2"]);
    report.expect_arms(&[
        "alone",
        "30: cap 30",
        "10/30/60: cap 10",
        "10/30/60: cap 60",
    ]);
    report.expect_ratios(&["cap_error_points", "cap_error_points_mean"]);
}

#[test]
fn alloc_reports_the_driver_and_the_daemon_with_one_client_and_with_many() {
    let report = Report::of("alloc", &["--clients", "3"]);
    report.expect_arms(&["inprocess", "daemon", "daemon unscrubbed", "daemon 3"]);
    report.expect_ratios(&["daemon_vs_inprocess", "many_vs_one"]);
    let limit = &report.last["settings"]["limit"];
    assert!(
        limit
            .as_str()
            .is_some_and(|limit| limit.contains("refused"))
    );
}

#[test]
fn isolation_finds_nothing_left_and_nothing_foreign() {
    let few = ["--clients", "10", "--alive", "4", "--checked-mib", "16"];
    let report = Report::of("isolation", &few);
    assert!(report.arm("churn")["value"].as_f64() >= Some(10.0));
    for what in ["bytes", "descriptors", "mappings", "threads"] {
        let left = &report.last["ratios"][format!("left_{what}")];
        assert_eq!(left.as_f64(), Some(0.0), "{what} in {}", report.last);
    }
    let ratios = &report.last["ratios"];
    if ratios["checked_gib"].is_f64() {
        assert_eq!(ratios["foreign_bytes"].as_f64(), Some(0.0));
        assert!(report.arm("checked")["value"].as_f64() >= Some(16.0));
    } else {
        let skipped = &report.last["settings"]["attack"];
        assert!(skipped.is_string(), "{}", report.last);
    }
}

#[test]
fn scale_reports_what_a_dispatch_costs_by_the_number_of_clients() {
    let report = Report::of("scale", &[]);
    report.expect_arms(&[
        "1+0 idle, 1 str, 1 q",
        "1024+0 idle, 8 str, 8 q",
        "1+10000 idle, 1 str, 8 q",
    ]);
    report.expect_ratios(&[
        "most_us_per_dispatch",
        "idle_10000_vs_0",
        "active_1024_vs_32",
        "active_10000_vs_32",
    ]);
}

#[test]
fn an_unknown_scenario_or_device_is_named() {
    for (arguments, named) in [
        (&["speed"][..], "speed"),
        (&["latency", "--device", "99"], "99"),
        (
            &["latency", "--socket", "/nonexistent/vkmps.sock"],
            "nonexistent",
        ),
    ] {
        let output = bench(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(text.contains(named), "{arguments:?}: {text}");
    }
}

/// The lines of `--json`.
struct Report {
    scenario: &'static str,
    rows: Vec<Value>,
    last: Value,
}

impl Report {
    /// Of the shortest run there is.
    fn of(scenario: &'static str, arguments: &[&str]) -> Self {
        let seconds = if scenario == "scale" { "0.001" } else { "0.1" };
        let short = ["--seconds", seconds, "--rounds", "1", "--json"];
        let text = output_of(bench(&[scenario]).args(short).args(arguments));
        let lines = text.lines().map(serde_json::from_str);
        let mut rows: Vec<Value> = lines.collect::<Result<_, _>>().expect("lines of JSON");
        let last = rows.pop().expect("a last line");
        let report = Self {
            scenario,
            rows,
            last,
        };
        report.check_shape();
        report
    }

    fn check_shape(&self) {
        for row in &self.rows {
            assert_eq!(row["scenario"], self.scenario);
            let keys: Vec<&str> = row
                .as_object()
                .expect("an object per arm")
                .keys()
                .map(String::as_str)
                .collect();
            let mut promised = [
                "scenario", "arm", "clients", "depth", "value", "unit", "p50_us", "p99_us",
            ];
            promised.sort_unstable();
            assert_eq!(keys, promised);
            assert!(row["value"].is_f64() && row["unit"].is_string(), "{row}");
        }
        assert_eq!(self.last["scenario"], self.scenario);
        assert!(self.last["ratios"].is_object(), "{}", self.last);
        for key in ["device", "driver"] {
            assert!(self.last[key].is_string(), "no {key} in {}", self.last);
        }
    }

    fn arm(&self, name: &str) -> &Value {
        let row = self.rows.iter().find(|row| row["arm"] == name);
        row.unwrap_or_else(|| panic!("no arm {name} in {:?}", self.rows))
    }

    fn expect_arms(&self, names: &[&str]) {
        names.iter().for_each(|name| _ = self.arm(name));
    }

    fn expect_ratios(&self, names: &[&str]) {
        for name in names {
            let ratio = &self.last["ratios"][name];
            assert!(
                ratio.as_f64().is_some_and(|ratio| ratio > 0.0),
                "{name} in {}",
                self.last
            );
        }
    }
}
