//! Who comes to the members: clients, watchers, an operator, a steward.

use std::sync::Arc;

use keelkv_history::Span;
use rand::Rng;

use super::World;
use crate::workload::{Client, Interest, Operator, Steward, User, Warden, Watcher};

impl World {
    pub(super) fn let_clients_in(&mut self) {
        let plan = &self.plan;
        for number in 1..=plan.clients {
            let client =
                Client::new(Arc::clone(&self.scene), number, self.random.random(), plan.keys, plan.client_pace);
            self.clients.spawn(client.work());
        }
        let everything = Interest {
            span: Span::all(),
            is_chronicle: true,
            prev_kv: true,
            fragment: self.random.random(),
            ..Interest::default()
        };
        let chronicle = Watcher::new(Arc::clone(&self.scene), 100, self.random.random(), everything);
        self.clients.spawn(chronicle.work());
        for number in 1..=plan.watchers {
            let key = format!("k{:02}", self.random.random_range(0..plan.keys));
            let interest = Interest {
                span: match self.random.random_range(0..3) {
                    0 => Span::key(key),
                    1 => Span::between(key, "k99"),
                    _ => Span::all(),
                },
                no_put: self.random.random_ratio(1, 5),
                no_delete: self.random.random_ratio(1, 5),
                prev_kv: self.random.random(),
                fragment: self.random.random(),
                is_slow: self.random.random_ratio(1, 3),
                is_chronicle: false,
            };
            let watcher = Watcher::new(Arc::clone(&self.scene), 100 + number, self.random.random(), interest);
            self.clients.spawn(watcher.work());
        }
        if plan.quota_bytes > 0 {
            let steward = Steward::new(Arc::clone(&self.scene), self.random.random());
            self.clients.spawn(steward.work());
        }
        for place in 0..plan.users {
            let user = User::new(Arc::clone(&self.scene), place, self.random.random(), plan.keys);
            self.clients.spawn(user.work());
        }
        if plan.users > 0 {
            let warden = Warden::new(Arc::clone(&self.scene), self.random.random(), plan.users, plan.keys);
            self.clients.spawn(warden.work());
        }
        let operator = Operator::new(
            Arc::clone(&self.scene),
            Arc::clone(&self.orders),
            self.random.random(),
            plan.members,
            plan.most,
            plan.churns,
        );
        self.clients.spawn(operator.work());
    }
}
