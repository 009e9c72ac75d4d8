//! A pipeline without a secret is who the environment says.

use serde_json::Value;
use tidegate_testing::{ACCESS_KEY, SECRET_KEY};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::lake::Lake;

const TOKEN: &str = "canary-pod-token";

/// An endpoint as EKS Pod Identity has one: it gives keys to whoever brings the pod's token.
async fn identity_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/credentials", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4_096];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
            let known = request.contains(&format!("authorization: {TOKEN}"));
            let (status, secret) = if known { ("200 OK", SECRET_KEY) } else { ("403 No", "") };
            let body = serde_json::json!({
                "AccessKeyId": ACCESS_KEY,
                "SecretAccessKey": secret,
                "Token": "",
                "Expiration": "2999-01-01T00:00:00Z",
            });
            let body = body.to_string();
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

#[tokio::test]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn a_pod_identity_opens_the_store_and_without_one_nobody_is_asked() {
    let mut lake = Lake::start("identity").await;
    lake.pipeline = lake.pipeline.clone().set("sink.storage.secretRef", Value::Null);
    lake.publish(10).await;
    let nobody = || lake.run().environment("AWS_EC2_METADATA_DISABLED", "true");
    let refused = lake.bench.end(nobody().argument("--until-caught-up"), "nobody").await;
    refused.expect(65).says("offers no identity").says("InvalidConfiguration");

    let token = lake.bench.scratch.join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let run = nobody()
        .environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", &identity_endpoint().await)
        .environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().unwrap());
    let ended = lake.bench.end(run.argument("--until-caught-up"), "identity").await.expect(0);
    assert!(!ended.output.contains(TOKEN), "{}", ended.output);
    assert_eq!(lake.rows().await, 10);
}
