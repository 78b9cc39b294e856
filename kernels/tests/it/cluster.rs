//! Clusters, neighbours and linkage against values of scikit-learn and SciPy.

use kernels::cluster::{
    Agreement, ChoiceRequest, ClusterSelection, Features, HdbscanRequest, KmeansRequest, KnnRequest,
    LinkageMethod, NeighbourSearch, Queries, Seeding, adjusted_rand_index, calinski_harabasz, choose_k,
    davies_bouldin, dbscan, linkage, principal_components, silhouette,
};
use kernels::{Backend, CpuBackend, InstructionSet, KernelError};
use serde_json::Value;

use crate::shared::{assert_close, number, numbers, vectors};

fn rows(value: &Value) -> (Vec<f64>, usize) {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    (rows.concat(), rows[0].len())
}

fn labels(value: &Value) -> Vec<i32> {
    numbers(value).into_iter().map(|label| label as i32).collect()
}

fn signed(labels: &[u32]) -> Vec<i32> {
    labels.iter().map(|&label| label as i32).collect()
}

fn check_kmeans(vector: &Value, features: Features<'_>) {
    let expected = &vector["expected"]["kmeans"];
    let k = number(&expected["k"]) as usize;
    for set in InstructionSet::ALL {
        let Ok(backend) = CpuBackend::with_instruction_set(set) else { continue };
        let out = backend.kmeans(&KmeansRequest::new(features, k)).unwrap();
        let most = number(&expected["inertia"]) * (1.0 + number(&expected["inertia_rel_max"]));
        assert!(out.inertia <= most, "{}: inertia {} above {most}", vector["name"], out.inertia);
        let ari = adjusted_rand_index(&signed(&out.labels), &labels(&expected["labels"])).unwrap();
        assert!(ari >= number(&expected["ari_min"]), "{}: {ari}", vector["name"]);
        let mut centres: Vec<&[f64]> = out.centroids.chunks_exact(features.columns).collect();
        centres.sort_by(|a, b| a[0].total_cmp(&b[0]));
        for (centre, expected) in centres.iter().zip(expected["centers_sorted"].as_array().unwrap()) {
            for (value, expected) in centre.iter().zip(numbers(expected)) {
                assert_close(vector, "centers", *value, expected);
            }
        }
        let labels = signed(&out.labels);
        let expected = &vector["expected"];
        let fit = silhouette(features, &labels, 0).unwrap();
        assert!(!fit.sampled && fit.standard_error == 0.0);
        assert_close(vector, "silhouette", fit.mean, number(&expected["silhouette"]));
        let index = davies_bouldin(features, &labels).unwrap();
        assert_close(vector, "davies_bouldin", index, number(&expected["davies_bouldin"]));
        let index = calinski_harabasz(features, &labels).unwrap();
        assert_close(vector, "calinski_harabasz", index, number(&expected["calinski_harabasz"]));
        let more = backend.kmeans(&KmeansRequest::new(features, k + 1).restarts(100)).unwrap();
        // One cluster too many has several optima of nearly the same inertia, and no tolerance is given.
        let most = number(&expected["kmeans_k+1_inertia"]) * (1.0 + 1e-4);
        assert!(more.inertia <= most, "{}: {} above {most}", vector["name"], more.inertia);
    }
}

fn check_hdbscan(vector: &Value, features: Features<'_>) {
    let expected = &vector["expected"]["hdbscan"];
    let request = HdbscanRequest::new(features, number(&expected["min_cluster_size"]) as usize)
        .min_samples(number(&expected["min_samples"]) as usize);
    for set in InstructionSet::ALL {
        let Ok(backend) = CpuBackend::with_instruction_set(set) else { continue };
        let out = backend.hdbscan(&request).unwrap();
        let ari = adjusted_rand_index(&out.labels, &labels(&expected["labels_sklearn"])).unwrap();
        assert!(ari >= number(&expected["ari_min"]), "{}: {ari}", vector["name"]);
        assert_eq!(out.sizes.len(), number(&expected["n_clusters"]) as usize, "{}", vector["name"]);
        assert_eq!(out.noise, number(&expected["noise_sklearn"]) as usize, "{}", vector["name"]);
    }
}

fn check_linkage(vector: &Value, features: Features<'_>) {
    let methods = [
        ("single", LinkageMethod::Single),
        ("complete", LinkageMethod::Complete),
        ("average", LinkageMethod::Average),
        ("ward", LinkageMethod::Ward),
    ];
    for (name, method) in methods {
        let expected = &vector["expected"][format!("linkage_{name}")];
        let first = number(&expected["first_rows"]) as usize;
        let part = Features { values: &features.values[..first * features.columns], ..features };
        let tree = linkage(part, method).unwrap();
        let heights = numbers(&expected["heights"]);
        assert_eq!(tree.merges.len(), heights.len());
        for (merge, height) in tree.merges.iter().zip(heights) {
            assert_close(vector, "heights", merge.height, height);
        }
        let ari =
            adjusted_rand_index(&signed(&tree.cut(3).unwrap()), &labels(&expected["labels_k3"])).unwrap();
        assert_eq!(ari, 1.0, "{} {name}", vector["name"]);
        let correlation = tree.cophenetic_correlation(part).unwrap();
        assert_close(vector, "cophenet", correlation, number(&expected["cophenet"]));
    }
}

#[test]
fn golden_clusters() {
    let Some(vectors) = vectors("clustering") else { return };
    let mut checked = 0;
    for vector in vectors.iter().filter(|vector| vector["expected"].get("linkage_single").is_some()) {
        let (values, columns) = rows(&vector["input"]["X"]);
        let features = Features { values: &values, columns };
        if vector["expected"].get("kmeans").is_some() {
            check_kmeans(vector, features);
        }
        check_hdbscan(vector, features);
        if let Some(expected) = vector["expected"].get("dbscan") {
            let samples = number(&expected["min_samples"]) as usize;
            let found = dbscan(features, number(&expected["eps"]), samples).unwrap();
            let ari = adjusted_rand_index(&found, &labels(&expected["labels"])).unwrap();
            assert!(ari >= number(&expected["ari_min"]), "{}: {ari}", vector["name"]);
        }
        check_linkage(vector, features);
        checked += 1;
    }
    assert_eq!(checked, 7);
}

#[test]
fn golden_fit_and_agreement() {
    let Some(vectors) = vectors("clustering") else { return };
    let mut checked = 0;
    for vector in &vectors {
        let expected = &vector["expected"];
        if expected.get("samples").is_some() {
            let (values, columns) = rows(&vector["input"]["X"]);
            let features = Features { values: &values, columns };
            let labels = labels(&vector["input"]["labels"]);
            let fit = silhouette(features, &labels, 0).unwrap();
            for (value, expected) in fit.values.iter().zip(numbers(&expected["samples"])) {
                assert_close(vector, "samples", *value, expected);
            }
            if expected.get("mean").is_some() {
                assert_close(vector, "mean", fit.mean, number(&expected["mean"]));
                let index = davies_bouldin(features, &labels).unwrap();
                assert_close(vector, "davies_bouldin", index, number(&expected["davies_bouldin"]));
                let index = calinski_harabasz(features, &labels).unwrap();
                assert_close(vector, "calinski_harabasz", index, number(&expected["calinski_harabasz"]));
            }
            checked += 1;
        } else if expected.get("ari").is_some() {
            let pair =
                Agreement::new(&labels(&vector["input"]["a"]), &labels(&vector["input"]["b"])).unwrap();
            let measures = [
                ("ari", pair.adjusted_rand()),
                ("nmi", pair.normalized_mutual_information()),
                ("ami", pair.adjusted_mutual_information()),
                ("rand", pair.rand()),
                ("fowlkes_mallows", pair.fowlkes_mallows()),
                ("homogeneity", pair.homogeneity()),
                ("completeness", pair.completeness()),
            ];
            for (key, got) in measures {
                if let Some(expected) = expected.get(key) {
                    assert_close(vector, key, got, number(expected));
                }
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 7);
}

#[test]
fn golden_edges() {
    let Some(vectors) = vectors("clustering") else { return };
    let of = |name: &str| vectors.iter().find(|vector| vector["name"] == name).unwrap();
    let backend = CpuBackend::new();
    let run = |vector: &Value| {
        let (values, columns) = rows(&vector["input"]["X"]);
        let k = number(&vector["params"]["k"]) as usize;
        backend.kmeans(&KmeansRequest::new(Features { values: &values, columns }, k))
    };
    let out = run(of("all_identical")).unwrap();
    assert_eq!((out.clusters, out.inertia, out.fewer_distinct_points_than_k), (1, 0.0, true));
    for name in ["k_gt_n", "nan_row"] {
        let expected = of(name)["expected"]["error"].as_str().unwrap();
        assert_eq!(run(of(name)).err().map(|error| error.code()), Some(expected));
    }
}

/// A fixed sequence of numbers in `[0, 1)`.
fn uniform(count: usize, salt: u32) -> Vec<f64> {
    let stream = kernels::rng::Stream { seed: 11, stream: salt, tag: kernels::rng::Tag::Other, sub: 0 };
    (0..count as u32).map(|i| kernels::rng::uniform(kernels::rng::words64(stream.block(i, 0))[0])).collect()
}

/// Clouds of points around `clusters` centres that lie on a coarse grid.
fn clouds(rows: usize, columns: usize, clusters: usize, spread: f64) -> (Vec<f64>, Vec<u32>) {
    let noise = uniform(rows * columns, 1);
    let truth: Vec<u32> = (0..rows).map(|row| (row * 7 % clusters) as u32).collect();
    let values = (0..rows * columns).map(|i| {
        let (row, column) = (i / columns, i % columns);
        let centre =
            f64::from((truth[row].wrapping_mul(2_654_435_761).wrapping_add(column as u32 * 40_503)) >> 7 & 7);
        centre + spread * (noise[i] - 0.5)
    });
    (values.collect(), truth)
}

#[test]
fn kmeans_finds_clouds_whatever_the_seeding() {
    let (values, truth) = clouds(6_000, 9, 12, 0.5);
    let features = Features { values: &values, columns: 9 };
    let backend = CpuBackend::new();
    for seeding in [Seeding::PlusPlus, Seeding::Parallel] {
        let out = backend.kmeans(&KmeansRequest::new(features, 12).seeding(seeding)).unwrap();
        assert_eq!(adjusted_rand_index(&out.labels, &truth).unwrap(), 1.0, "{seeding:?}");
        assert_eq!(out.sizes.iter().sum::<u32>(), 6_000);
        assert!(out.converged && out.labels[0] == 0 && out.restart_inertias.len() == 10);
        // The reported inertia is that of the reported labels and centroids.
        let by_hand: f64 = (0..6_000)
            .map(|row| {
                let centroid = &out.centroids[out.labels[row] as usize * 9..][..9];
                features.row(row).iter().zip(centroid).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
            })
            .sum();
        assert!((out.inertia / by_hand - 1.0).abs() < 1e-12);
        assert!(out.restart_inertias.iter().all(|inertia| *inertia >= out.inertia * (1.0 - 1e-6)));
    }
}

#[test]
fn every_row_has_its_nearest_centroid() {
    // Overlapping rows, so that many lie near a border.
    let values = uniform(4_000 * 3, 2);
    let features = Features { values: &values, columns: 3 };
    let out = CpuBackend::new().kmeans(&KmeansRequest::new(features, 37).restarts(2)).unwrap();
    for row in 0..4_000 {
        let squared = |cluster: usize| {
            let centroid = &out.centroids[cluster * 3..][..3];
            features.row(row).iter().zip(centroid).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
        };
        let own = squared(out.labels[row] as usize);
        let best = (0..37).map(squared).fold(f64::INFINITY, f64::min);
        assert!(own <= best + 1e-6, "row {row}: {own} against {best}");
    }
}

#[test]
fn choosing_k_finds_clear_clouds() {
    let (values, _) = clouds(600, 4, 5, 0.6);
    let features = Features { values: &values, columns: 4 };
    let request = ChoiceRequest { references: 5, ..ChoiceRequest::new(features, 9) };
    let out = choose_k(&request).unwrap();
    assert_eq!((out.by_silhouette, out.by_gap), (Some(5), Some(5)));
    assert_eq!(out.candidates.len(), 9);
    assert!(out.candidates[4].stability > 0.999);
    assert!(out.candidates.windows(2).all(|pair| pair[1].inertia < pair[0].inertia));
}

fn brute_neighbours(features: Features<'_>, row: usize, k: usize) -> Vec<u32> {
    let squared = |other: usize| {
        features.row(row).iter().zip(features.row(other)).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
    };
    let mut others: Vec<usize> = (0..features.rows()).filter(|&other| other != row).collect();
    others.sort_by(|&a, &b| squared(a).total_cmp(&squared(b)).then(a.cmp(&b)));
    others[..k].iter().map(|&other| other as u32).collect()
}

#[test]
fn neighbours_are_those_of_all_pairs() {
    // Whole numbers: many ties and repeated rows, and all distances exact.
    let values: Vec<f64> = uniform(900 * 4, 3).into_iter().map(|value| (value * 5.0).floor()).collect();
    let features = Features { values: &values, columns: 4 };
    let some: Vec<u32> = (0..900).step_by(30).collect();
    for set in InstructionSet::ALL {
        let Ok(backend) = CpuBackend::with_instruction_set(set) else { continue };
        for k in [1, 7, 40] {
            let all = backend.nearest_neighbours(&KnnRequest { features, k, queries: Queries::All }).unwrap();
            for row in 0..900 {
                let found = &all.rows[row * k..(row + 1) * k];
                assert_eq!(found, brute_neighbours(features, row, k), "row {row}, k = {k}");
            }
            let queries = Queries::Rows(&some);
            let few = backend.nearest_neighbours(&KnnRequest { features, k, queries }).unwrap();
            for (place, &row) in some.iter().enumerate() {
                let range = row as usize * k..(row as usize + 1) * k;
                assert_eq!(few.rows[place * k..(place + 1) * k], all.rows[range.clone()]);
                assert_eq!(few.distances[place * k..(place + 1) * k], all.distances[range]);
            }
        }
    }
}

#[test]
fn answers_do_not_depend_on_threads_or_instruction_sets() {
    let (values, _) = clouds(5_000, 6, 9, 3.0);
    let features = Features { values: &values, columns: 6 };
    let answer = |backend: &CpuBackend| {
        let means = backend.kmeans(&KmeansRequest::new(features, 11).restarts(3).seed(9)).unwrap();
        let parallel =
            backend.kmeans(&KmeansRequest::new(features, 11).restarts(1).seeding(Seeding::Parallel)).unwrap();
        let density = backend.hdbscan(&HdbscanRequest::new(features, 15).min_samples(5)).unwrap();
        let search = NeighbourSearch::Near { leaves: 4 };
        let near = backend.hdbscan(&HdbscanRequest::new(features, 15).search(search)).unwrap();
        assert!(near.recall > 0.5 && near.recall < 1.0, "{}", near.recall);
        format!("{means:?} {:?} {parallel:?} {density:?} {near:?}", means.inertia.to_bits())
    };
    let first = answer(&CpuBackend::new());
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| answer(&CpuBackend::new())) == first, "{threads} threads");
    }
    for set in InstructionSet::ALL {
        let Ok(backend) = CpuBackend::with_instruction_set(set) else { continue };
        assert!(answer(&backend) == first, "{set:?}");
    }
}

#[test]
fn an_inexact_search_says_what_it_found_and_finds_clear_clusters() {
    // 8,000 rows are 42 leaves.
    let (values, cloud) = clouds(8_000, 16, 10, 0.3);
    let features = Features { values: &values, columns: 16 };
    let backend = CpuBackend::new();
    let request = HdbscanRequest::new(features, 30);
    let exact = backend.hdbscan(&request).unwrap();
    assert_eq!(exact.recall, 1.0);
    let all = backend.hdbscan(&request.search(NeighbourSearch::Near { leaves: 1_000 })).unwrap();
    assert_eq!(all, exact, "where all leaves are near, nothing is missed");
    let mut before = 0.0;
    for leaves in [1, 3, 12] {
        let near = backend.hdbscan(&request.search(NeighbourSearch::Near { leaves })).unwrap();
        assert!(near.recall > before, "{} of the neighbours in {leaves} leaves", near.recall);
        before = near.recall;
        let longer = near.core_distances.iter().zip(&exact.core_distances).all(|(near, exact)| near >= exact);
        assert!(longer, "a core distance can only come out too large");
        assert_eq!(near.sizes.len(), 10);
        assert!(adjusted_rand_index(&near.labels, &signed(&cloud)).unwrap() > 0.99);
    }
    let none = backend.hdbscan(&request.search(NeighbourSearch::Near { leaves: 0 }));
    assert_eq!(none.err().map(|error| error.code()), Some("parameter_out_of_range"));
}

#[test]
fn golden_components() {
    let Some(vectors) = vectors("clustering") else { return };
    for vector in vectors.iter().filter(|vector| vector["name"] == "pca") {
        let (values, columns) = rows(&vector["input"]["X"]);
        let found = principal_components(Features { values: &values, columns }, columns).unwrap();
        let expected = &vector["expected"];
        let (directions, _) = rows(&expected["abs_components"]);
        let absolute: Vec<f64> = found.directions.iter().map(|value| value.abs()).collect();
        for (name, got, expected) in [
            ("variances", found.variances, numbers(&expected["explained_variance"])),
            ("shares", found.shares, numbers(&expected["ratio"])),
            ("directions", absolute, directions),
        ] {
            assert_eq!(got.len(), expected.len());
            got.iter().zip(expected).for_each(|(got, expected)| assert_close(vector, name, *got, expected));
        }
    }
}

#[test]
fn components_of_awkward_rows() {
    let (values, _) = clouds(500, 7, 3, 1.0);
    let features = Features { values: &values, columns: 7 };
    let all = principal_components(features, 7).unwrap();
    assert!((all.shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    // Directions are at right angles, and projections have the variances and no correlation.
    let projected = all.project(features).unwrap();
    for a in 0..7 {
        for b in 0..=a {
            let dot: f64 = (0..7).map(|i| all.directions[a * 7 + i] * all.directions[b * 7 + i]).sum();
            assert!((dot - f64::from(u8::from(a == b))).abs() < 1e-12, "{a} {b}: {dot}");
            let product: f64 = projected.chunks_exact(7).map(|row| row[a] * row[b]).sum::<f64>() / 499.0;
            let expected = if a == b { all.variances[a] } else { 0.0 };
            assert!((product - expected).abs() < 1e-10 * all.variances[0], "{a} {b}: {product}");
        }
    }
    // A large offset costs digits of the values, not of the answer.
    let moved: Vec<f64> = values.iter().map(|value| value + 1e9).collect();
    let far = principal_components(Features { values: &moved, columns: 7 }, 2).unwrap();
    assert!((far.variances[0] / all.variances[0] - 1.0).abs() < 1e-6);
    let constant = principal_components(Features { values: &[2.0; 12], columns: 3 }, 3).unwrap();
    assert!(constant.variances == [0.0; 3] && constant.shares.iter().all(|share| share.is_nan()));
    let code = |values: &[f64], columns, count| {
        principal_components(Features { values, columns }, count).err().map(|error| error.code())
    };
    assert_eq!(code(&[1.0, 2.0], 2, 1), Some("parameter_out_of_range"));
    assert_eq!(code(&[1.0, 2.0], 1, 0), Some("parameter_out_of_range"));
    assert_eq!(code(&[1e300, -1e300], 1, 1), Some("parameter_out_of_range"));
    assert_eq!(code(&vec![0.0; 2_050], 1_025, 1), Some("parameter_out_of_range"));
    assert_eq!(code(&[1.0, f64::NAN], 1, 1), Some("nonfinite_feature"));
    assert!(all.project(Features { values: &[1.0], columns: 1 }).is_err());
}

#[test]
fn hdbscan_leaves_and_scores() {
    // Two pairs of near clouds: leaves are four, the mass is in the pairs or the clouds; the last row is far away.
    let noise = uniform(801, 4);
    let values: Vec<f64> = (0..800)
        .map(|row| f64::from(row % 4 / 2) * 40.0 + f64::from(row % 2) * 1.2 + noise[row as usize] * 0.5)
        .chain([90.0])
        .collect();
    let features = Features { values: &values, columns: 1 };
    let backend = CpuBackend::new();
    let request = HdbscanRequest::new(features, 110).min_samples(20);
    let leaves = backend.hdbscan(&request.selection(ClusterSelection::Leaf)).unwrap();
    assert_eq!(leaves.sizes.len(), 4);
    let out = backend.hdbscan(&request).unwrap();
    assert!(out.labels[800] == -1 && out.probabilities[800] == 0.0 && out.outlier_scores[800] > 0.99);
    assert!(out.probabilities.iter().chain(&out.outlier_scores).all(|value| (0.0..=1.0).contains(value)));
    assert_eq!(out.noise, out.labels.iter().filter(|label| **label == -1).count());
    for (label, probability) in out.labels.iter().zip(&out.probabilities) {
        assert_eq!(*label >= 0, *probability > 0.0);
    }
}

#[test]
fn few_and_equal_rows() {
    let backend = CpuBackend::new();
    let none = Features { values: &[], columns: 3 };
    let one = Features { values: &[1.0, 2.0, 3.0], columns: 3 };
    let two = Features { values: &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], columns: 3 };
    let equal = Features { values: &[1.0; 120_000], columns: 3 };
    let code = |error: Option<KernelError>| error.map(|error| error.code());
    assert_eq!(code(backend.kmeans(&KmeansRequest::new(none, 1)).err()), Some("k_exceeds_n"));
    assert_eq!(backend.kmeans(&KmeansRequest::new(one, 1)).unwrap().labels, [0]);
    assert_eq!(backend.kmeans(&KmeansRequest::new(two, 2)).unwrap().sizes, [1, 1]);
    assert_eq!(backend.kmeans(&KmeansRequest::new(two, 1)).unwrap().inertia, 13.5);
    let out = backend.kmeans(&KmeansRequest::new(equal, 5)).unwrap();
    assert_eq!((out.clusters, out.fewer_distinct_points_than_k), (1, true));
    assert_eq!(code(backend.kmeans(&KmeansRequest::new(two, 0)).err()), Some("parameter_out_of_range"));

    for features in [none, one, two] {
        let out = backend.hdbscan(&HdbscanRequest::new(features, 5)).unwrap();
        assert_eq!((out.labels.len(), out.noise), (features.rows(), features.rows()));
    }
    let request = HdbscanRequest { allow_single_cluster: true, ..HdbscanRequest::new(equal, 5) };
    let out = backend.hdbscan(&request).unwrap();
    assert_eq!((out.sizes, out.noise), (vec![40_000], 0));
    assert_eq!(backend.hdbscan(&HdbscanRequest::new(equal, 5)).unwrap().noise, 40_000);
    let request = HdbscanRequest::new(two, 2).min_samples(3);
    assert_eq!(code(backend.hdbscan(&request).err()), Some("k_exceeds_n"));
    assert_eq!(code(backend.hdbscan(&HdbscanRequest::new(two, 1)).err()), Some("parameter_out_of_range"));

    let knn = |features, k| backend.nearest_neighbours(&KnnRequest { features, k, queries: Queries::All });
    assert_eq!(code(knn(one, 1).err()), Some("k_exceeds_n"));
    assert_eq!(code(knn(none, 1).err()), Some("k_exceeds_n"));
    assert_eq!(knn(two, 1).unwrap().rows, [1, 0]);
    let out = knn(equal, 2).unwrap();
    assert_eq!((&out.rows[..6], out.distances[5]), (&[1, 2, 0, 2, 0, 1][..], 0.0));
    let queries = Queries::Rows(&[2]);
    assert!(backend.nearest_neighbours(&KnnRequest { features: two, k: 1, queries }).is_err());

    assert_eq!(silhouette(two, &[0, 1], 0).err().map(|error| error.code()), Some("bad_labels"));
    assert_eq!(silhouette(two, &[0], 0).err().map(|error| error.code()), Some("bad_shape"));
    assert!(linkage(none, LinkageMethod::Ward).unwrap().merges.is_empty());
    assert!(linkage(one, LinkageMethod::Single).unwrap().cut(2).is_err());
}

#[test]
fn repeated_rows_cluster_as_their_copies() {
    // Each of three places holds forty copies, and some rows lie between.
    let mut values: Vec<f64> = (0..120).map(|row| f64::from(row % 3) * 10.0).collect();
    values.extend([4.0, 5.0, 16.0]);
    let features = Features { values: &values, columns: 1 };
    let out = CpuBackend::new().hdbscan(&HdbscanRequest::new(features, 10)).unwrap();
    assert_eq!((out.sizes.len(), out.noise), (3, 0));
    let firm = |row: usize| out.probabilities[row] == 1.0;
    assert!((0..120).all(firm) && !(120..123).any(firm));
    assert!(out.core_distances[..120].iter().all(|core| *core == 0.0));
}

#[test]
fn large_offsets_do_not_matter() {
    let (values, truth) = clouds(500, 3, 4, 0.5);
    let moved: Vec<f64> = values.iter().map(|value| value * 1e3 + 1e15).collect();
    let features = Features { values: &moved, columns: 3 };
    let backend = CpuBackend::new();
    let means = backend.kmeans(&KmeansRequest::new(features, 4)).unwrap();
    assert_eq!(adjusted_rand_index(&means.labels, &truth).unwrap(), 1.0);
    let out = backend.hdbscan(&HdbscanRequest::new(features, 20)).unwrap();
    let found: Vec<u32> = out.labels.iter().map(|&label| label as u32).collect();
    assert!(adjusted_rand_index(&found, &truth).unwrap() > 0.97, "{} clusters", out.sizes.len());
}

#[test]
fn a_sampled_silhouette_says_so_and_is_near_the_exact_one() {
    let (values, truth) = clouds(40_000, 24, 6, 6.0);
    let features = Features { values: &values, columns: 24 };
    let fit = silhouette(features, &signed(&truth), 3).unwrap();
    assert!(fit.sampled && fit.rows.len() == 1_000 && fit.standard_error > 0.0);
    let part = Features { values: &values[..6_000 * 24], columns: 24 };
    let exact = silhouette(part, &signed(&truth[..6_000]), 0).unwrap();
    assert!(!exact.sampled && (exact.mean - fit.mean).abs() < 0.02, "{} {}", exact.mean, fit.mean);
}

#[test]
fn dbscan_of_all_pairs() {
    // Whole numbers, so that many distances are exactly the radius, and rows repeat.
    let values: Vec<f64> = uniform(700 * 2, 8).into_iter().map(|value| (value * 40.0).floor()).collect();
    let features = Features { values: &values, columns: 2 };
    let found = dbscan(features, 2.0, 4).unwrap();
    let squared = |a: usize, b: usize| {
        features.row(a).iter().zip(features.row(b)).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
    };
    let near = |row: usize| (0..700).filter(move |&other| squared(row, other) <= 4.0);
    let core: Vec<bool> = (0..700).map(|row| near(row).count() >= 4).collect();
    assert!(core.contains(&true) && core.contains(&false) && found.contains(&-1));
    for row in 0..700 {
        let cores = near(row).filter(|&other| core[other]);
        let nearest =
            cores.clone().min_by(|&a, &b| squared(row, a).total_cmp(&squared(row, b)).then(a.cmp(&b)));
        assert_eq!(found[row], nearest.map_or(-1, |other| found[other]), "row {row}");
        if core[row] {
            assert!(cores.clone().all(|other| found[other] == found[row]));
        }
    }
    // No two clusters could be one: labels are not finer than connection by core rows.
    let mut open: Vec<usize> = (0..700).filter(|&row| core[row]).take(1).collect();
    let mut reached = vec![false; 700];
    while let Some(row) = open.pop() {
        if !std::mem::replace(&mut reached[row], true) {
            open.extend(near(row).filter(|&other| core[other]));
        }
    }
    let first = (0..700).find(|&row| core[row]).unwrap();
    assert!((0..700).filter(|&row| core[row]).all(|row| reached[row] == (found[row] == found[first])));
    assert!(dbscan(features, f64::NAN, 4).is_err() && dbscan(features, 1.0, 0).is_err());
    assert!(dbscan(Features { values: &[], columns: 1 }, 1.0, 2).unwrap().is_empty());
}
