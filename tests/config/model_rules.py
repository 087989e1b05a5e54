"""The rules for building networks: a broken rule is reported with a remedy."""

from tests.config import experiments

# Arguments of `experiments.assert_refused`.
RULES = [
    (
        1,
        dict(model__channel_multipliers=()),
        ['channel_multipliers=()', 'must have at least one number'],
        ['model.channel_multipliers'],
        experiments.sized(256),
    ),
    (
        1,
        dict(model__image_size=240, data__image_size=240),
        ['image_size=240', 'multiple of 32', '6 levels halve it 5 times'],
        ['model.image_size', 'model.channel_multipliers'],
        dict(
            model__image_size=96,
            data__image_size=96,
            model__code_shape=(3, 3, 1),
            model__attention_resolutions=(),
        ),
    ),
    (
        1,
        dict(model__res_blocks=(1, 2)),
        ['res_blocks=(1, 2)', 'one for each of the 6 levels'],
        ['model.res_blocks'],
        dict(model__res_blocks=(1, 2, 1, 2, 1, 2)),
    ),
    (
        1,
        dict(model__code_shape=(8, 3, 4)),
        ['code_shape=(8, 3, 4)', 'divide the 8x8 feature map evenly'],
        ['model.code_shape', 'model.channel_multipliers'],
        dict(model__code_shape=(8, 8, 3)),
    ),
    (
        1,
        dict(model__code_shape=(16, 8, 4)),
        ['code_shape=(16, 8, 4)', 'divide the 8x8 feature map evenly'],
        ['model.code_shape', 'model.channel_multipliers'],
        dict(model__code_shape=(8, 8, 1)),
    ),
    *(
        (
            1,
            {f'model__{name}': several[:4]},
            [f'{name}={several[:4]}', 'shared_codebook=True', 'one number'],
            [f'model.{name}', 'model.shared_codebook'],
            {f'model__{name}': several[:4], 'model__shared_codebook': False},
        )
        for name, several in (
            ('codebook_size', (8, 8, 4, 4, 2)),
            ('decay', (0.9, 0.9, 0.8, 0.8, 0.7)),
        )
    ),
    *(
        (
            1,
            {f'model__{name}': several, 'model__shared_codebook': False},
            [f'{name}={several}', 'each of the 4 depths', '(8, 8, 4)'],
            [f'model.{name}'],
            {f'model__{name}': several[:4], 'model__shared_codebook': False},
        )
        for name, several in (
            ('codebook_size', (8, 8, 4, 4, 2)),
            ('decay', (0.9, 0.9, 0.8, 0.8, 0.7)),
        )
    ),
    (
        1,
        dict(model__channels=24),
        ['norm_groups=32', 'does not divide 24', 'the divisors of 24'],
        ['model.norm_groups'],
        dict(model__channels=24, model__norm_groups=8),
    ),
    (
        1,
        dict(model__channel_multipliers=(2, 3), model__channels=16,
             model__norm_groups=32),
        ['norm_groups=32', 'does not divide 48', 'the divisors of 16'],
        ['model.norm_groups'],
        dict(model__channel_multipliers=(2, 4), model__channels=16,
             model__norm_groups=32, model__code_shape=(128, 128, 1),
             model__attention_resolutions=()),
    ),
    (
        2,
        dict(model__width=100),
        ['width=100', 'must be a multiple of config.model.heads=24'],
        ['model.width', 'model.heads'],
        dict(model__width=120),
    ),
    (
        2,
        dict(model__depth_layers=0),
        ['depth_layers=0', 'must be positive, because a code stack has'
         ' several codes'],
        ['model.depth_layers'],
        dict(model__depth_layers=0, model__code_shape=(8, 8, 1)),
    ),
    (
        2,
        dict(model__num_classes=10, model__text_vocab_size=5,
             model__text_length=3),
        ['num_classes=10', 'text_vocab_size=5', 'labels or texts, not both'],
        ['model.num_classes', 'model.text_vocab_size to 0'],
        dict(model__num_classes=10),
    ),
    (
        2,
        dict(model__text_vocab_size=5),
        ['text_vocab_size=5', 'text_length=0', 'must both be positive'],
        ['model.text_vocab_size', 'model.text_length'],
        dict(model__num_classes=10),
    ),
    (
        2,
        dict(model__text_length=3),
        ['text_vocab_size=0', 'text_length=3', 'must both be positive'],
        ['model.text_vocab_size', 'model.text_length'],
        dict(),
    ),
    (
        2,
        dict(model__null_class=True),
        ['null_class=True', 'needs a model that is conditioned on labels or'],
        ['model.null_class to False'],
        dict(model__null_class=True, model__num_classes=5),
    ),
    (
        2,
        dict(model__codebook_size=(8, 4), model__shared_embedding=False,
             model__shared_classifier=False),
        ['codebook_size=(8, 4)', 'one number for each depth', '(8, 8, 4)'],
        ['model.codebook_size'],
        dict(model__codebook_size=(8, 4, 2, 2), model__shared_embedding=False,
             model__shared_classifier=False),
    ),
    *(
        (
            2,
            {'model__codebook_size': (8, 8, 4, 4), f'model__{own}': False},
            ['codebook_size=(8, 8, 4, 4)', 'classifiers for each depth'],
            ['model.shared_embedding', 'model.shared_classifier to False'],
            dict(model__codebook_size=8),
        )
        for own in ('shared_embedding', 'shared_classifier')
    ),
]  # fmt: skip
