//! Whether what is live is what was asked for, so that nothing is sent when nothing differs.
//!
//! The API server adds defaults and others may add fields of their own, so that the live object has to
//! hold what we want, not to equal it. What we no longer want does not show that way; for that the hash
//! of what was applied last stands in an annotation.

use serde_json::{Map, Value};

/// The fields by which items of a list are told apart, where Kubernetes merges lists by item.
const ITEM_KEYS: [&str; 6] = ["uid", "name", "mountPath", "containerPort", "port", "key"];
/// Fields whose members are quantities.
const QUANTITY_MAPS: [&str; 3] = ["limits", "requests", "capacity"];
/// Fields that are quantities.
const QUANTITIES: [&str; 2] = ["sizeLimit", "divisor"];

/// Whether `live` holds everything that `wanted` says.
pub(crate) fn holds(live: &Value, wanted: &Value) -> bool {
    holds_at(live, wanted, false)
}

fn holds_at(live: &Value, wanted: &Value, quantity: bool) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => holds_members(live, wanted, quantity),
        (Value::Array(live), Value::Array(wanted)) => holds_items(live, wanted),
        (Value::String(live), Value::String(wanted)) => {
            live == wanted || (quantity && amount(live).is_some() && amount(live) == amount(wanted))
        }
        _ => live == wanted,
    }
}

fn holds_members(live: &Map<String, Value>, wanted: &Map<String, Value>, quantity: bool) -> bool {
    wanted.iter().all(|(name, wanted)| {
        let quantity = quantity
            || QUANTITY_MAPS.contains(&name.as_str())
            || QUANTITIES.contains(&name.as_str());
        match live.get(name) {
            Some(live) => holds_at(live, wanted, quantity),
            None => is_nothing(wanted),
        }
    })
}

/// What the API server leaves out when it is empty. Where an empty map says something (`emptyDir: {}`)
/// it is kept, and nobody can take it away alone.
fn is_nothing(wanted: &Value) -> bool {
    match wanted {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn holds_items(live: &[Value], wanted: &[Value]) -> bool {
    if let Some(key) = item_key(wanted) {
        return wanted.iter().all(|item| {
            let same = |other: &&Value| said(other, key) == said(item, key);
            live.iter().filter(same).any(|other| holds_at(other, item, false))
        });
    }
    live.len() == wanted.len()
        && live.iter().zip(wanted).all(|(live, wanted)| holds_at(live, wanted, false))
}

/// A member, if it says anything.
fn said<'a>(item: &'a Value, name: &str) -> Option<&'a Value> {
    item.get(name).filter(|value| !is_nothing(value))
}

/// The field that every item has, and each with another value.
fn item_key(items: &[Value]) -> Option<&'static str> {
    ITEM_KEYS.into_iter().find(|key| {
        let mut values: Vec<String> =
            items.iter().filter_map(|item| item.get(key)).map(Value::to_string).collect();
        let all = values.len() == items.len() && !items.is_empty();
        values.sort();
        values.dedup();
        all && values.len() == items.len()
    })
}

/// A quantity in thousandths of a thousandth; none when it is none or out of range.
fn amount(text: &str) -> Option<i128> {
    const MICRO: i128 = 1_000_000;
    let digits = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-'));
    let (number, suffix) = text.split_at(digits.unwrap_or(text.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: i128 = format!("{:0<6}", fraction.get(..fraction.len().min(6))?).parse().ok()?;
    let sign = if number.starts_with('-') { -1 } else { 1 };
    let micros = whole.checked_mul(MICRO)?.checked_add(sign * fraction)?;
    match suffix {
        "u" => Some(micros / MICRO),
        "m" => Some(micros / 1000),
        _ => micros.checked_mul(factor(suffix)?),
    }
}

fn factor(suffix: &str) -> Option<i128> {
    let exponent = |base: i128, power: u32| base.checked_pow(power);
    match suffix {
        "" => Some(1),
        "k" => exponent(1000, 1),
        "M" => exponent(1000, 2),
        "G" => exponent(1000, 3),
        "T" => exponent(1000, 4),
        "P" => exponent(1000, 5),
        "E" => exponent(1000, 6),
        "Ki" => exponent(1024, 1),
        "Mi" => exponent(1024, 2),
        "Gi" => exponent(1024, 3),
        "Ti" => exponent(1024, 4),
        "Pi" => exponent(1024, 5),
        "Ei" => exponent(1024, 6),
        _ => {
            let power = suffix.strip_prefix(['e', 'E'])?;
            exponent(10, power.trim_start_matches('+').parse().ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_live_object_holds_what_is_wanted_with_whatever_it_has_besides() {
        let wanted = json!({
            "spec": {
                "replicas": 2,
                "tolerations": [],
                "containers": [{"name": "tidegate", "args": ["worker"], "env": [{"name": "A", "value": "1"}]}],
            },
        });
        let live = json!({
            "metadata": {"uid": "u"},
            "spec": {
                "replicas": 2,
                "dnsPolicy": "ClusterFirst",
                "containers": [
                    {"name": "sidecar"},
                    {
                        "name": "tidegate",
                        "args": ["worker"],
                        "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
                        "terminationMessagePath": "/dev/termination-log",
                    },
                ],
            },
        });
        assert!(holds(&live, &wanted));
    }

    #[test]
    fn an_empty_text_that_the_api_server_drops_is_held() {
        let tolerations = json!({"tolerations": [{"key": "", "operator": "Exists", "effect": ""}]});
        assert!(holds(&json!({"tolerations": [{"operator": "Exists"}]}), &tolerations));
        assert!(holds(&tolerations, &tolerations));
        assert!(!holds(&json!({"tolerations": [{"operator": "Equal"}]}), &tolerations));
        let taint = json!({"tolerations": [{"operator": "Exists", "effect": "NoExecute"}]});
        assert!(!holds(&taint, &tolerations), "an empty text is not any text");
        let variable = json!({"env": [{"name": "A", "value": ""}]});
        assert!(holds(&json!({"env": [{"name": "A"}]}), &variable));
        assert!(!holds(&json!({"env": [{"name": "A", "value": "1"}]}), &variable));
    }

    #[test]
    fn whatever_differs_is_seen() {
        let live = json!({"a": 1, "list": ["x", "y"], "named": [{"name": "n", "v": 1}]});
        for wanted in [
            json!({"a": 2}),
            json!({"b": 1}),
            json!({"b": false}),
            json!({"list": ["x"]}),
            json!({"list": ["y", "x"]}),
            json!({"named": [{"name": "n", "v": 2}]}),
            json!({"named": [{"name": "other"}]}),
            json!({"a": "1"}),
        ] {
            assert!(!holds(&live, &wanted), "{wanted}");
        }
    }

    #[test]
    fn quantities_are_amounts_and_other_texts_are_texts() {
        let pod = |cpu: &str, memory: &str| json!({"resources": {"limits": {"cpu": cpu, "memory": memory}}});
        for (live, wanted, same) in [
            (pod("1", "1Gi"), pod("1000m", "1024Mi"), true),
            (pod("250m", "512Mi"), pod("0.25", "536870912"), true),
            (pod("1", "1G"), pod("1", "1e9"), true),
            (pod("1", "1Gi"), pod("1", "1G"), false),
            (pod("1", "lots"), pod("1", "more"), false),
            (json!({"labels": {"n": "1"}}), json!({"labels": {"n": "1000m"}}), false),
            (json!({"sizeLimit": "1Gi"}), json!({"sizeLimit": "1024Mi"}), true),
        ] {
            assert_eq!(holds(&live, &wanted), same, "{live} and {wanted}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z0-9.Mi]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let key = prop_oneof!["[a-c]", Just("limits".to_owned()), Just("name".to_owned())];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((key, inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn everything_holds_itself_and_no_value_panics(value in value(), other in value()) {
            prop_assert!(holds(&value, &value));
            let _ = holds(&value, &other);
        }
    }
}
