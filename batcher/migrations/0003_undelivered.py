
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('batcher', '0002_batch_history'),
        ('durable_objects', '0005_operations'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='batch',
            index=models.Index(condition=models.Q(('status', 'delivered'), _negated=True), fields=['status', '-sealed_at'], name='batcher_undelivered'),
        ),
        migrations.AddIndex(
            model_name='batch',
            index=models.Index(condition=models.Q(('outcome_unknown', True)), fields=['-sealed_at'], name='batcher_unknown'),
        ),
    ]
