
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('durable_objects', '0005_operations'),
        ('reminders', '0003_alerts'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='plan',
            index=models.Index(condition=models.Q(('state', 'set'), _negated=True), fields=['state', 'person'], name='reminders_ended'),
        ),
        migrations.AddIndex(
            model_name='plan',
            index=models.Index(condition=models.Q(('put_off', ''), _negated=True), fields=['put_off'], name='reminders_put_off'),
        ),
    ]
