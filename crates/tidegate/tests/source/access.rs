//! Brokers that want to know who is there: credentials and TLS from `--secrets-dir`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tidegate_testing::{
    NatsOptions, NatsServer, Scratch, TidegateCommand, workspace, write_secret,
};

use crate::checks::rows;
use crate::support::{Ended, LONG, Pipeline, call};

const CANARY: &str = "canary-7f31";

/// A broker with a configuration of its own.
struct Guarded {
    _nats: NatsServer,
    scratch: Scratch,
    pipeline: Pipeline,
}

impl Guarded {
    async fn start(configuration: String) -> Self {
        let scratch = Scratch::new("guarded").unwrap();
        let options = NatsOptions { configuration, port: None };
        let nats = NatsServer::start_with(&scratch.join("nats"), &options).await.unwrap();
        let pipeline = Pipeline::new("guarded", &nats.url(), scratch.path())
            .set("dedup.key.header", json!("Nats-Msg-Id"))
            .set("source.jetStream.credentials", json!({"secretRef": {"name": "nats"}}));
        let lines: String =
            (1..=10).map(|n| format!("{{\"id\": \"m{n}\", \"n\": {n}}}\n")).collect();
        fs::write(scratch.join("lines"), lines).unwrap();
        Self { _nats: nats, scratch, pipeline }
    }

    /// Mounts a secret, as the kubelet would.
    fn secret(&self, name: &str, keys: &[(&str, &str)]) {
        let secrets = self.scratch.join("secrets");
        let _ = fs::remove_dir_all(secrets.join(name));
        write_secret(&secrets, name, keys).unwrap();
    }

    async fn end(&self, command: TidegateCommand) -> Ended {
        let logs = tempfile::Builder::new().tempdir_in(self.scratch.path()).unwrap().keep();
        let command = command.argument("--secrets-dir").argument(self.scratch.join("secrets"));
        let mut process = command.spawn("call", &logs).unwrap();
        let code = process.wait(LONG).await.unwrap().code();
        Ended { code, stdout: process.stdout(), output: process.output() }
    }

    fn publish(&self) -> TidegateCommand {
        let publish = call("publish", &self.pipeline).argument("--subject").argument("guarded.a");
        publish
            .argument("--id-field")
            .argument("id")
            .argument("--input")
            .argument(self.scratch.join("lines"))
    }

    fn run(&self) -> TidegateCommand {
        let run = call("run", &self.pipeline).argument("--until-caught-up");
        run.argument("--data-dir").argument(self.scratch.join("data"))
    }

    /// Every command gets in.
    async fn lets_in(&self) {
        self.end(self.publish()).await.expect(0);
        self.end(self.run()).await.expect(0);
        assert_eq!(rows(&self.pipeline).await.rows, 10);
        self.end(call("verify", &self.pipeline).argument("--source")).await.expect(0);
        let plan = self.end(call("plan", &self.pipeline)).await.expect(0);
        plan.says("go on at sequence 11 (0 messages wait)");
    }

    /// No command gets in, and none tells the secret.
    async fn keeps_out(&self, says: &str) {
        let verify = call("verify", &self.pipeline).argument("--source");
        for command in [self.run(), self.publish(), call("plan", &self.pipeline), verify] {
            let ended = self.end(command.environment("TIDEGATE_LOG", "trace")).await;
            assert_ne!(ended.code, Some(0));
            assert!(!ended.output.contains(CANARY), "{}", ended.output);
        }
        let ended = self.end(self.run()).await.expect(65);
        ended.says(says);
    }
}

fn data(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap().trim_end().to_owned()
}

fn folder() -> PathBuf {
    workspace().join("crates/tidegate/tests/source/data")
}

const REFUSED: &str = "the broker refused the credentials";

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn user_and_password_let_in_and_the_administrators_are_used_for_the_stream() {
    let configuration = r#"authorization { users: [
        {user: admin, password: "right-a"},
        {user: worker, password: "right-w", permissions: {publish: {deny: [
            "$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>", "$JS.API.STREAM.PURGE.>"]}}}
    ]}"#;
    let mut guarded = Guarded::start(configuration.to_owned()).await;
    guarded.secret("nats", &[("username", "worker"), ("password", "right-w")]);
    guarded.secret("boss", &[("username", "admin"), ("password", "right-a\n")]);
    // The worker's own may not make the stream.
    let refused = guarded.end(guarded.run()).await;
    assert_ne!(refused.code, Some(0), "{}", refused.output);
    let admin = json!({"secretRef": {"name": "boss"}});
    guarded.pipeline = guarded.pipeline.clone().set("source.jetStream.adminCredentials", admin);
    guarded.lets_in().await;
    guarded.secret("boss", &[("username", "admin"), ("password", CANARY)]);
    guarded.secret("nats", &[("username", "worker"), ("password", CANARY)]);
    guarded.keeps_out(REFUSED).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_token_lets_in() {
    let guarded = Guarded::start("authorization { token: \"right\" }".to_owned()).await;
    guarded.secret("nats", &[("token", "right\n")]);
    guarded.lets_in().await;
    guarded.secret("nats", &[("token", CANARY)]);
    guarded.keeps_out(REFUSED).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn an_nkey_lets_in() {
    let users = format!("authorization {{ users: [ {{nkey: {}}} ] }}", data("nkey.public"));
    let guarded = Guarded::start(users).await;
    guarded.secret("nats", &[("nkey", &format!("{}\n", data("nkey.seed")))]);
    guarded.lets_in().await;
    guarded.secret("nats", &[("nkey", &format!("SU{CANARY}"))]);
    guarded.keeps_out(REFUSED).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_creds_file_lets_in() {
    let guarded = Guarded::start(data("operator.conf")).await;
    guarded.secret("nats", &[("creds", &data("worker.creds"))]);
    guarded.lets_in().await;
    guarded.secret("nats", &[("creds", CANARY)]);
    guarded.keeps_out("the credentials cannot be used to connect to the broker").await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_secret_that_is_not_mounted_is_named() {
    let guarded = Guarded::start("authorization { token: \"right\" }".to_owned()).await;
    let missing = guarded.end(guarded.run()).await.expect(75);
    missing.says("\"nats\"").says("SecretMissing").says("put the secret below --secrets-dir");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_private_authority_and_a_client_certificate_let_in_and_are_asked_for() {
    let tls = workspace().join("crates/tidegate-source/tests/data/tls");
    let file = |name: &str| fs::read_to_string(tls.join(name)).unwrap();
    let mut guarded = Guarded::start(configuration(&tls)).await;
    guarded.secret("authority", &[("ca.crt", &file("ca.crt"))]);
    guarded.secret(
        "certificate",
        &[("tls.crt", &file("client.crt")), ("tls.key", &file("client.key"))],
    );
    let settings =
        json!({"caRef": {"name": "authority"}, "clientSecretRef": {"name": "certificate"}});
    let plain =
        guarded.pipeline.clone().set("source.jetStream.credentials", serde_json::Value::Null);
    guarded.pipeline = plain.clone().set("source.jetStream.tls", settings);
    guarded.lets_in().await;

    // Without the authority the broker is not trusted; without a certificate we are not.
    for (missing, settings) in [
        ("authority", json!({"clientSecretRef": {"name": "certificate"}})),
        ("certificate", json!({"caRef": {"name": "authority"}})),
    ] {
        guarded.pipeline = plain.clone().set("source.jetStream.tls", settings);
        let refused = guarded.end(guarded.run()).await;
        assert!(matches!(refused.code, Some(65 | 75)), "{missing}: {}", refused.output);
        assert!(refused.output.contains("ertificate"), "{missing}: {}", refused.output);
    }
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_private_authority_in_a_folder_of_the_environment_is_trusted_beside_the_others() {
    let tls = workspace().join("crates/tidegate-source/tests/data/tls");
    let settings = format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}",
        tls.join("server.crt"),
        tls.join("server.key")
    );
    let mut guarded = Guarded::start(settings).await;
    guarded.pipeline =
        guarded.pipeline.clone().set("source.jetStream.credentials", serde_json::Value::Null);
    let refused = guarded.end(guarded.publish()).await;
    assert!(matches!(refused.code, Some(65 | 75)), "{}", refused.output);
    // As the kubelet lays out a ConfigMap: a folder of links into a folder that is replaced.
    let mounted = guarded.scratch.join("authorities");
    fs::create_dir_all(mounted.join("..2026")).unwrap();
    fs::copy(tls.join("ca.crt"), mounted.join("..2026/ca.crt")).unwrap();
    std::os::unix::fs::symlink("..2026", mounted.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/ca.crt", mounted.join("ca.crt")).unwrap();
    let bundle = guarded.scratch.join("bundle.crt");
    fs::write(&bundle, "").unwrap();
    let trusting = guarded
        .publish()
        .environment("SSL_CERT_FILE", bundle.to_str().unwrap())
        .environment("SSL_CERT_DIR", mounted.to_str().unwrap());
    guarded.end(trusting).await.expect(0);
}

fn configuration(tls: &Path) -> String {
    format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        tls.join("server.crt"),
        tls.join("server.key"),
        tls.join("ca.crt")
    )
}
