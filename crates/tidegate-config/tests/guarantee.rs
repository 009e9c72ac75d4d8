//! The guarantee calculator as a table of facts.

mod common;

use common::sound;
use proptest::prelude::*;
use tidegate_config::*;
use tidegate_types::*;

fn good() -> PathFacts {
    PathFacts {
        stream: StreamFacts {
            retention: Some(StreamRetention::Limits),
            discard: Some(Discard::New),
            max_messages_per_subject: Some(0),
            allow_message_ttl: Some(false),
            allow_rollup: Some(false),
            deny_delete: Some(true),
            replicas: Some(3),
            sync_always: Some(true),
            duplicate_window: Some(Span::seconds(120)),
        },
        store: StoreFacts { conditional_put: Some(true) },
    }
}

#[test]
fn a_sound_path_gives_exactly_once_without_caveats() {
    let assessment = assess(&sound(), &good());
    assert!(assessment.is_met());
    assert_eq!(assessment.weakest_hop, None);
    assert_eq!(assessment.caveats, []);
}

type Worsen = fn(&mut PipelineConfig, &mut PathFacts);

const WEAK: [(&str, &str, Worsen); 11] = [
    ("stream", "WorkQueue", |_, f| f.stream.retention = Some(StreamRetention::WorkQueue)),
    ("stream", "Interest", |_, f| f.stream.retention = Some(StreamRetention::Interest)),
    ("stream", "discard: new", |_, f| f.stream.discard = Some(Discard::Old)),
    ("stream", "max_msgs_per_subject", |_, f| f.stream.max_messages_per_subject = Some(1)),
    ("stream", "allow_msg_ttl", |_, f| f.stream.allow_message_ttl = Some(true)),
    ("stream", "allow_rollup_hdrs", |_, f| f.stream.allow_rollup = Some(true)),
    ("stream", "deny_delete", |_, f| f.stream.deny_delete = Some(false)),
    ("partitioning", "idSubjectStable", |c, _| {
        c.source.partitioning = Partitioning::Subject { partitions: 8, id_subject_stable: false };
    }),
    ("dedup", "write dedup", |c, _| c.dedup = None),
    ("dedup", "keys: Exact", |c, _| {
        if let Some(window) = &mut c.dedup {
            window.keys = KeyPrecision::Fingerprint;
        }
    }),
    ("store", "conditional puts", |_, f| f.store.conditional_put = Some(false)),
];

#[test]
fn s1_s11_d5_each_weak_hop_is_named_and_refuses_exactly_once() {
    for (hop, says, worsen) in WEAK {
        let (mut config, mut facts) = (sound(), good());
        worsen(&mut config, &mut facts);
        let assessment = assess(&config, &facts);
        assert_eq!(assessment.effective, Guarantee::AtLeastOnce, "{says}");
        let weakest = assessment.weakest_hop.expect(says);
        assert_eq!(weakest.hop, hop, "{says}");
        assert!(weakest.to_string().contains(says), "{says}: {weakest}");
    }
}

#[test]
fn x5_weaker_requests_are_met_on_every_path() {
    for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
        for (_, says, worsen) in WEAK {
            let (mut config, mut facts) = (sound(), good());
            worsen(&mut config, &mut facts);
            config.guarantee = guarantee;
            let assessment = assess(&config, &facts);
            assert!(assessment.is_met(), "{guarantee:?} {says}");
            assert_eq!(assessment.weakest_hop, None, "{guarantee:?} {says}");
        }
    }
}

#[test]
fn at_least_once_says_what_it_lives_with() {
    for (says, worsen) in [
        ("may drop unread", (|f| f.stream.discard = Some(Discard::Old)) as fn(&mut PathFacts)),
        ("WorkQueue", |f| f.stream.retention = Some(StreamRetention::WorkQueue)),
        ("Interest", |f| f.stream.retention = Some(StreamRetention::Interest)),
        ("one worker only", |f| f.store.conditional_put = Some(false)),
    ] {
        let (mut config, mut facts) = (sound(), good());
        config.guarantee = Guarantee::AtLeastOnce;
        worsen(&mut facts);
        let caveats = assess(&config, &facts).caveats;
        assert!(caveats.iter().any(|caveat| caveat.text.contains(says)), "{says}: {caveats:?}");
    }
}

#[test]
fn without_a_window_the_brokers_own_is_named() {
    let mut config = sound();
    config.guarantee = Guarantee::AtMostOnce;
    config.dedup = None;
    let caveats = assess(&config, &good()).caveats;
    assert!(caveats[0].text.contains("by the broker within 2m"), "{caveats:?}");
}

#[test]
fn durability_is_a_caveat_and_never_a_refusal() {
    for worsen in [
        (|f| f.stream.replicas = Some(1)) as fn(&mut PathFacts),
        |f| f.stream.replicas = Some(2),
        |f| f.stream.sync_always = Some(false),
    ] {
        let mut facts = good();
        worsen(&mut facts);
        let assessment = assess(&sound(), &facts);
        assert!(assessment.is_met());
        let reasons: Vec<_> = assessment.caveats.iter().map(|caveat| caveat.reason).collect();
        assert_eq!(reasons, [Some(Reason::SourceNotDurable)]);
    }
}

#[test]
fn what_was_not_looked_at_is_said_to_be_assumed() {
    let assessment = assess(&sound(), &PathFacts::default());
    assert!(assessment.is_met());
    let text = &assessment.caveats[0].text;
    assert!(text.contains("assumed") && text.contains("deny_delete"), "{text}");
    assert!(text.contains("conditional put"), "{text}");
}

#[test]
fn the_first_weak_hop_on_the_path_is_the_weakest_and_the_others_follow() {
    let (mut config, mut facts) = (sound(), good());
    config.dedup = None;
    facts.store.conditional_put = Some(false);
    facts.stream.discard = Some(Discard::Old);
    let assessment = assess(&config, &facts);
    assert_eq!(assessment.weakest_hop.map(|hop| hop.hop), Some("stream"));
    let further: Vec<_> = assessment.further_hops.iter().map(|hop| hop.hop).collect();
    assert_eq!(further, ["dedup", "store"]);
}

fn any_facts() -> impl Strategy<Value = PathFacts> {
    let maybe = || proptest::option::of(any::<bool>());
    (
        proptest::option::of(prop_oneof![
            Just(StreamRetention::Limits),
            Just(StreamRetention::WorkQueue),
            Just(StreamRetention::Interest)
        ]),
        proptest::option::of(prop_oneof![Just(Discard::Old), Just(Discard::New)]),
        proptest::option::of(0_u64..3),
        (maybe(), maybe(), maybe(), maybe(), maybe()),
        proptest::option::of(1_u32..6),
    )
        .prop_map(|(retention, discard, per_subject, flags, replicas)| PathFacts {
            stream: StreamFacts {
                retention,
                discard,
                max_messages_per_subject: per_subject,
                allow_message_ttl: flags.0,
                allow_rollup: flags.1,
                deny_delete: flags.2,
                replicas,
                sync_always: flags.3,
                duplicate_window: None,
            },
            store: StoreFacts { conditional_put: flags.4 },
        })
}

fn any_config() -> impl Strategy<Value = PipelineConfig> {
    let guarantee = prop_oneof![
        Just(Guarantee::AtMostOnce),
        Just(Guarantee::AtLeastOnce),
        Just(Guarantee::ExactlyOnce)
    ];
    (guarantee, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(guarantee, stable, with_dedup, exact)| {
            let mut config = sound();
            config.guarantee = guarantee;
            config.source.partitioning =
                Partitioning::Subject { partitions: 8, id_subject_stable: stable };
            if let Some(window) = config.dedup.as_mut().filter(|_| !exact) {
                window.keys = KeyPrecision::Fingerprint;
            }
            config.dedup = config.dedup.filter(|_| with_dedup);
            config
        },
    )
}

proptest! {
    #[test]
    fn a_path_never_gives_more_than_was_asked_for(config in any_config(), facts in any_facts()) {
        let assessment = assess(&config, &facts);
        prop_assert!(assessment.effective <= assessment.requested);
        prop_assert_eq!(assessment.weakest_hop.is_none(), assessment.is_met());
    }

    #[test]
    fn weakening_a_hop_never_raises_what_it_gives(
        config in any_config(),
        facts in any_facts(),
        which in 0..WEAK.len(),
    ) {
        let before = assess(&config, &facts).effective;
        let (mut worse_config, mut worse_facts) = (config, facts);
        WEAK[which].2(&mut worse_config, &mut worse_facts);
        prop_assert!(assess(&worse_config, &worse_facts).effective <= before);
    }

    #[test]
    fn durability_never_changes_the_guarantee(
        config in any_config(),
        facts in any_facts(),
        replicas in 1_u32..6,
        sync: bool,
    ) {
        let mut changed = facts.clone();
        changed.stream.replicas = Some(replicas);
        changed.stream.sync_always = Some(sync);
        prop_assert_eq!(assess(&config, &changed).effective, assess(&config, &facts).effective);
    }
}
