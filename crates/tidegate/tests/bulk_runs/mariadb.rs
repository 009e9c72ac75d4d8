//! Tables of MariaDB, day by day.

use serde_json::json;
use tidegate_testing::MariaDbServer;

use crate::ground::{Ground, daily, within_day};
use crate::support::{Pipeline, Rows};

#[tokio::test]
#[ignore = "needs MariaDB and the Python readers; run by make test"]
async fn days_of_a_table_come_over_once_with_their_types() {
    let ground = Ground::new("bulk-mariadb");
    let server = MariaDbServer::start(&ground.scratch.join("mariadb")).await.unwrap();
    server.write_secret(&ground.scratch.join("secrets"), "shop-db").unwrap();
    let day = |days| within_day(days, 6).replace(['T', 'Z'], " ");
    let (one, two, three) = (day(3), day(2), day(1));
    let statements = format!(
        "CREATE TABLE sales (id bigint unsigned PRIMARY KEY, name varchar(40), price decimal(10, 2), \
         created_at timestamp NOT NULL);
         INSERT INTO sales VALUES (1, 'tea 🍵', 1.20, '{one}'), (18446744073709551615, NULL, -0.01, '{two}'),
         (3, 'größe', 3.00, '{three}')"
    );
    server.sql(&statements).await.unwrap();
    let source = json!({"type": "MySQL", "mysql": {
        "connection": {"secretRef": {"name": "shop-db"}},
        "table": "shop.sales",
        "tls": {"mode": "Disable"},
    }});
    let sales = daily(Pipeline::bulk("sales", &source, ground.path()), 3)
        .set("bulk.incremental.cursorField", json!("created_at"))
        .set("bulk.incremental.mutability", json!("Immutable"))
        .set("bulk.incremental.settle", json!("0s"));
    ground.ask("doctor", &sales).await.expect(0).says("ok      rights:");
    ground.run(&sales).await.expect(0).says("default/sales: 3 runs done, 3 rows.");
    ground.run(&sales).await.expect(0).says("nothing is due");
    let seen = Rows::of(&sales.table).await.unwrap();
    let mut prices = seen.texts("price");
    prices.sort();
    assert_eq!(prices, ["-0.01", "1.20", "3.00"]);
    let mut names = seen.texts("name");
    names.sort();
    assert_eq!(names, ["größe", "null", "tea 🍵"]);
    assert!(seen.texts("id").contains(&"18446744073709551615".to_owned()), "{seen:?}");
    ground.ask("verify", &sales).await.expect(0);
}
