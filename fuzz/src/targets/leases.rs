//! A Lease of the API, as JSON: whose it is, and what becomes of it.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use node_upgrade_agent::cluster::lease_object::{changed, state};
use serde_json::Value;
use upgrade_core::api::policy::PROTOCOL;
use upgrade_core::api::{Holder, LeaseName, Version, text};
use upgrade_core::judge::lease::{LeaseDecision, LeaseState, Standing, Wish, judge as swap, standing};
use upgrade_core::observed::LeaseMark;

use super::{ensure, is_clear, world};

/// Fields and what stands in them.
pub(super) const WORDS: [&str; 30] = [
    "metadata",
    "spec",
    "name",
    "labels",
    "annotations",
    "resourceVersion",
    "holderIdentity",
    "leaseTransitions",
    "leaseDurationSeconds",
    "acquireTime",
    "renewTime",
    "strategy",
    "preferredHolder",
    "ownerReferences",
    "finalizers",
    "node-upgrade-agent/held",
    "node-upgrade-agent/protocol",
    "node-upgrade-agent/degraded",
    "node-upgrade-agent/applied",
    "control-plane",
    "slot-0",
    "slot-00",
    "n1/u1/t1",
    "n1/u1/t0",
    "n1/u2/t1",
    "n2/u1/t1",
    "n1/u1",
    "n1/u1/-x",
    "v1.36.3: disk",
    "2026-01-01T00:00:00.000000Z",
];
/// What an agent writes: for every other field somebody else cares.
const OURS: [&str; 9] = [
    "/metadata/labels/node-upgrade-agent~1held",
    "/metadata/annotations/node-upgrade-agent~1protocol",
    "/metadata/annotations/node-upgrade-agent~1degraded",
    "/metadata/annotations/node-upgrade-agent~1applied",
    "/spec/holderIdentity",
    "/spec/renewTime",
    "/spec/acquireTime",
    "/spec/leaseTransitions",
    "/spec/leaseDurationSeconds",
];

/// What reading, and each wish of node `n1`, comes to.
pub(super) fn judge(input: &[u8]) -> Result<String, String> {
    // Anything else the client refuses: it is no such object.
    let Ok(lease) = serde_json::from_slice::<Lease>(input) else { return Ok("no Lease".to_owned()) };
    let (read, me) = (state(&lease), world::me("t1"));
    let name = lease.metadata.name.as_deref().unwrap_or_default();
    if let Some(parsed) = LeaseName::parse(name) {
        ensure(parsed.to_string() == name, || format!("{name:?} is taken for {parsed}"))?;
    }
    let holder = read.holder.as_deref().and_then(Holder::parse);
    if let (Some(holder), Some(text)) = (&holder, &read.holder) {
        ensure(holder.to_string() == *text, || format!("{text:?} is taken for {holder}"))?;
    }
    if let Some(text) = &read.degraded {
        let mark = LeaseMark::read(text);
        ensure(LeaseMark::read(&mark.text()) == mark, || format!("{mark:?} is not read as it is written"))?;
    }
    let ours = read.holder.as_deref() == Some(me.to_string().as_str());
    let earlier =
        !ours && holder.is_some_and(|holder| (holder.node, holder.uid) == (me.node.clone(), me.uid.clone()));
    let whose = if ours {
        "ours"
    } else if earlier {
        "of an earlier turn"
    } else if read.holder.is_some() {
        "theirs"
    } else {
        "free"
    };
    let mark = LeaseMark { target: Some(Version::new(1, 36, 3)), why: "disk".to_owned() };
    let wishes = [
        Wish::Claim,
        Wish::Renew { mark: None, applied: None },
        Wish::Renew {
            mark: read.degraded.as_deref().map(LeaseMark::read),
            applied: Some(Version::new(1, 36, 3)),
        },
        Wish::Renew { mark: Some(mark), applied: None },
        Wish::Release,
    ];
    let mut words = Vec::new();
    for wish in &wishes {
        words.push(wished(&lease, &read, &me, whose, wish)?);
    }
    let noted = [read.degraded.is_some(), read.applied.is_some(), LeaseName::parse(name).is_some()];
    Ok(format!("{whose} {noted:?}: {}", words.join(", ")))
}

/// What one wish comes to.
fn wished(
    lease: &Lease,
    read: &LeaseState,
    me: &Holder,
    whose: &str,
    wish: &Wish,
) -> Result<&'static str, String> {
    let newer = read.protocol.as_ref().is_some_and(|text| text.parse().map_or(true, |at: u32| at > PROTOCOL));
    match swap(Some(read), me, wish) {
        LeaseDecision::Stands(stands) => {
            let expected = match &read.holder {
                None => Standing::Free,
                Some(name) => Standing::Other(name.clone()),
            };
            ensure(stands == expected && whose != "ours", || {
                format!("{wish:?} of what is {whose}: {stands:?}")
            })?;
            Ok("stands")
        }
        LeaseDecision::Barred(why) => {
            is_clear(&why)?;
            let may = *wish == Wish::Claim && whose == "free" && newer;
            ensure(may, || format!("{wish:?} of what is {whose} is barred: {why}")).map(|()| "barred")
        }
        LeaseDecision::Write(next) => {
            let may = match wish {
                Wish::Claim => whose != "theirs" && !(whose == "free" && newer),
                Wish::Renew { .. } => whose == "ours",
                Wish::Release => whose != "theirs" && whose != "free",
            };
            ensure(may, || format!("{wish:?} writes over what is {whose}: {read:?}"))?;
            written(lease, read, me, wish, &next).map(|()| "written")
        }
    }
}

/// What is written holds what was wished, and nothing of others is lost.
fn written(
    lease: &Lease,
    read: &LeaseState,
    me: &Holder,
    wish: &Wish,
    next: &LeaseState,
) -> Result<(), String> {
    let holder = (*wish != Wish::Release).then(|| me.to_string());
    ensure(next.holder == holder, || format!("{wish:?} leaves it to {:?}", next.holder))?;
    ensure(next.degraded.as_ref().is_none_or(|mark| mark.len() <= text::NOTE), || {
        "too long a mark".to_owned()
    })?;
    let noted = match wish {
        Wish::Renew { applied: Some(applied), .. } => Some(applied.to_string()),
        _ => read.applied.clone(),
    };
    ensure(next.applied == noted, || {
        format!("{wish:?} leaves the note {:?} of {:?}", next.applied, read.applied)
    })?;
    let now = MicroTime(Timestamp::from_second(1_790_000_000).unwrap_or_default());
    let after = changed(lease.clone(), next.clone(), &now);
    ensure(state(&after) == *next, || format!("{next:?} is read as {:?}", state(&after)))?;
    let me_again = standing(Some(&state(&after)), me);
    ensure((me_again == Standing::Ours) == holder.is_some(), || {
        format!("written for us, it is {me_again:?}")
    })?;
    let transitions =
        |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
    ensure(transitions(&after) >= transitions(lease), || "fewer transitions than before".to_owned())?;
    let (before, after) = (theirs(lease)?, theirs(&after)?);
    ensure(before == after, || format!("of others {before} has become {after}"))
}

/// What others care for in a Lease.
fn theirs(lease: &Lease) -> Result<Value, String> {
    let mut value = serde_json::to_value(lease).map_err(|error| error.to_string())?;
    for path in OURS {
        let Some((parent, key)) = path.rsplit_once('/') else { continue };
        if let Some(map) = value.pointer_mut(parent).and_then(Value::as_object_mut) {
            map.remove(&key.replace("~1", "/"));
        }
    }
    // An object without fields is as good as absent.
    for (parent, key) in
        [("/metadata", "labels"), ("/metadata", "annotations"), ("", "spec"), ("", "metadata")]
    {
        let map = value.pointer_mut(parent).and_then(Value::as_object_mut);
        if let Some(map) = map
            && map.get(key).and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
        {
            map.remove(key);
        }
    }
    Ok(value)
}
