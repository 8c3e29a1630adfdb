//! What a watch has shown so far.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::runtime::watcher::Event;

/// Objects by namespace, name and UID, in the small form that is kept of each. During a new list the old content
/// stands until the list is whole.
pub(super) struct Known<T> {
    /// Whether the list is whole.
    pub(super) listed: bool,
    objects: BTreeMap<Key, T>,
    coming: BTreeMap<Key, T>,
}

type Key = (Option<String>, String, Option<String>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { listed: false, objects: BTreeMap::new(), coming: BTreeMap::new() }
    }
}

impl<T: Clone> Known<T> {
    /// Takes an event in; objects of which nothing is kept are as good as absent.
    pub(super) fn take<K: ResourceExt>(&mut self, event: Event<K>, small: impl Fn(K) -> Option<T>) {
        match event {
            Event::Init => {
                self.listed = false;
                self.coming.clear();
            }
            Event::InitApply(object) => put(&mut self.coming, object, small),
            Event::InitDone => {
                self.listed = true;
                self.objects = std::mem::take(&mut self.coming);
            }
            Event::Apply(object) => put(&mut self.objects, object, small),
            Event::Delete(object) => {
                self.objects.remove(&key(&object));
            }
        }
    }

    /// Everything, in the order of names.
    pub(super) fn values(&self) -> Vec<T> {
        self.objects.values().cloned().collect()
    }
}

fn key(object: &impl ResourceExt) -> Key {
    (object.namespace(), object.name_any(), object.uid())
}

fn put<K: ResourceExt, T>(map: &mut BTreeMap<Key, T>, object: K, small: impl Fn(K) -> Option<T>) {
    let key = key(&object);
    match small(object) {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}
