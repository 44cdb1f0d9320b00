
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('contenttypes', '0002_remove_content_type_name'),
        ('durable_objects', '0005_operations'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='alarm',
            name='durable_objects_retrying',
        ),
        migrations.RemoveIndex(
            model_name='alarm',
            name='durable_objects_kind_retrying',
        ),
        migrations.AlterField(
            model_name='object',
            name='kind',
            field=models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='contenttypes.contenttype'),
        ),
        migrations.AddIndex(
            model_name='alarm',
            index=models.Index(condition=models.Q(('retry_count__gt', 0), ('state', 'armed')), fields=['wake_at'], name='durable_objects_retrying'),
        ),
        migrations.AddIndex(
            model_name='alarm',
            index=models.Index(condition=models.Q(('retry_count__gt', 0), ('state', 'armed')), fields=['kind', 'wake_at'], name='durable_objects_kind_retrying'),
        ),
        migrations.AddIndex(
            model_name='object',
            index=models.Index(fields=['kind', 'id'], name='durable_objects_of_kind'),
        ),
    ]
