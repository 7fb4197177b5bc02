//! Who leads when members cannot connect to each other in both directions, and what is said of it.

use super::lines::Lines;
use super::*;

const ELECTION: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_leader_to_whom_nobody_can_connect_hands_over() {
    let (lines, _guard) = Lines::keep();
    let cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    let rest: Vec<usize> = (0..3).filter(|number| *number != old).collect();
    for other in &rest {
        cluster.board.cut_way(&url(*other), &url(old));
    }
    for other in &rest {
        put(cluster.node(*other), "a", "1").await.expect("one of these two leads");
        assert_eq!(get(cluster.node(*other), "a").await, Ok(Some("1".into())));
    }
    let old_id = cluster.node(old).identity().member_id;
    assert!(rest.iter().all(|other| cluster.node(*other).leader() != Some(old_id)));
    // It hears of that by itself only.
    let stepped_down = async {
        while cluster.node(old).is_leader() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(4 * ELECTION, stepped_down).await.expect("it has no quorum any more");
    let follows = async {
        while cluster.node(old).status().term != cluster.node(rest[0]).status().term {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(4 * ELECTION, follows).await.expect("it asks who leads");
    let confessed = lines.with("others that it reaches cannot connect to it");
    assert!(confessed.len() == 1 && confessed[0].contains(&url(old)), "{confessed:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn followers_that_cannot_connect_to_the_leader_say_so() {
    let (lines, _guard) = Lines::keep();
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    // Nobody can be reached better.
    for (from, to) in [(one, leader), (other, leader), (one, other)] {
        cluster.board.cut_way(&url(from), &url(to));
    }
    let told = async {
        while lines.with("the leader reaches this member, which cannot connect to it").len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(40 * ELECTION, told).await.expect("both say it");
    let told = lines.with("the leader reaches this member, which cannot connect to it");
    assert!(told.iter().all(|line| line.contains(&url(leader))), "{told:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn whoever_all_can_connect_to_leads() {
    let cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    let cut_off = (old + 1) % 3;
    cluster.board.cut_way(&url(cut_off), &url(old));
    put(cluster.node(cut_off), "a", "1").await.expect("another leads");
    assert_eq!(cluster.leader().await, (old + 2) % 3);
    cluster.stop().await;
}

#[tokio::test]
async fn a_leader_stays_when_others_are_cut_off_or_nobody_is_better() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let term = cluster.node(leader).status().term;
    let busy_for = async |time: Duration| {
        let until = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < until {
            put(cluster.node(leader), "a", "1").await.expect("a quorum");
        }
        let status = cluster.node(leader).status();
        assert_eq!((status.leader, status.term), (cluster.node(leader).identity().member_id, term));
    };
    // Both cannot connect to one of them, which gets to both; and those two not to each other.
    cluster.board.cut_way(&url(one), &url(other));
    busy_for(4 * ELECTION).await;
    cluster.board.cut(&url(one));
    busy_for(4 * ELECTION).await;
    // The one that is left cannot connect to the leader either, but alone it could not lead.
    cluster.board.cut_way(&url(other), &url(leader));
    busy_for(6 * ELECTION).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_member_without_a_quorum_says_soon_whom_it_misses() {
    let (lines, _guard) = Lines::keep();
    let board = Switchboard::new();
    let node = Node::start(config(&board, 0, 3), env()).await.expect("starts");
    let began = tokio::time::Instant::now();
    while lines.with("this member waits for a quorum").is_empty() {
        // Long before the first request without a quorum is given up.
        assert!(began.elapsed() < node.config().request_timeout() - 2 * ELECTION, "not said in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let said = lines.with("this member waits for a quorum").remove(0);
    assert!(said.contains("m1") && said.contains(&url(1)) && said.contains("m2"), "{said}");
    assert!(!said.contains(&url(0)), "{said}");
    node.stop().await;
}
