# SPDX-License-Identifier: Apache-2.0
from mlcl_plugin import apis


def test_public_names():
    assert apis.__all__ == [
        'Choice',
        'Fitted',
        'Issues',
        'LabelEmbedder',
        'LabelIndex',
        'MultiLabelInferencer',
        'Tuned',
        'apply_changes',
        'build_index',
        'build_loader',
        'build_model',
        'check_datasets',
        'embed',
        'export_model',
        'extract_features',
        'find_issues',
        'fit',
        'fit_neighbours',
        'freeze_backbone',
        'measure_embeddings',
        'nearest_images',
        'query_index',
        'register_models',
        'select_images',
        'tune',
        'write_report',
    ]
    assert all(callable(getattr(apis, name)) for name in apis.__all__)
