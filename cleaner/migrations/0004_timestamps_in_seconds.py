from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('cleaner', '0003_last_reports'),
    ]

    operations = [
        migrations.AddField(
            model_name='cleanerrun',
            name='in_seconds',
            field=models.BigIntegerField(default=0),
        ),
    ]
