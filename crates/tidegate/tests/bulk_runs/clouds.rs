//! Files and table in a store that stands in for Azure's.

use object_store::ObjectStoreExt;
use object_store::azure::MicrosoftAzure;
use serde_json::json;
use tidegate_testing::AzureServer;

use crate::ground::{Ground, daily, day};
use crate::support::Pipeline;

/// Three days of a file each, with two rows; the table stands beside them.
async fn three_days(ground: &Ground, server: &AzureServer, store: &MicrosoftAzure) -> Pipeline {
    for days in 1..=3 {
        let text = format!("id,name\n{days}0,a\n{days}1,b\n");
        put(store, &format!("in/dt={}/rows.csv", day(days)), text).await;
    }
    server.write_secret(&ground.path().join("secrets"), "azure").unwrap();
    let storage = |path: &str| {
        json!({
            "url": server.url(path),
            "endpoint": server.endpoint(),
            "secretRef": {"name": "azure"},
        })
    };
    let source = json!({"type": "ObjectStore", "objectStore": {
        "storage": storage("in"),
        "glob": "dt=%Y-%m-%d/*.csv",
        "format": "CSV",
    }});
    let pipeline = Pipeline::bulk("days", &source, ground.path())
        .columns(&[("id", "long"), ("name", "string")])
        .set("sink.storage", storage("tables/days"));
    daily(pipeline, 3)
}

async fn put(store: &MicrosoftAzure, path: &str, text: String) {
    store.put(&path.into(), text.into()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs azurite; run by make test"]
async fn a_table_in_azure_is_filled_and_replaced_and_verified() {
    let ground = Ground::new("bulk-azure");
    let server = AzureServer::start(&ground.path().join("azure"), "lake").await.unwrap();
    let store = server.store().unwrap();
    let days = three_days(&ground, &server, &store).await;
    ground.run(&days).await.expect(0).says("days: 3 runs done, 6 rows.");
    ground.run(&days).await.expect(0).says("nothing is due");
    put(&store, &format!("in/dt={}/more.csv", day(2)), "id,name\n22,late\n".to_owned()).await;
    let that_day = (day(2), day(1));
    let again =
        ground.backfill(&days, (&that_day.0, &that_day.1), &["--reprocess", "All"]).await.expect(0);
    again.says("3 rows in place of 2");
    ground.ask("verify", &days).await.expect(0);
    let log = store.get(&"tables/days/_delta_log/00000000000000000000.json".into()).await;
    assert!(log.is_ok(), "the table is where it was asked for");
}
