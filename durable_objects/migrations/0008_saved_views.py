from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('durable_objects', '0007_kind_of_schedules'),
    ]

    operations = [
        migrations.CreateModel(
            name='SavedView',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('list', models.CharField(max_length=201)),
                ('query', models.TextField()),
                ('name', models.CharField(max_length=60)),
                ('is_shared', models.BooleanField(default=False, verbose_name='for everybody who may see this list')),
                ('user', models.CharField(max_length=64)),
                ('by', models.CharField(max_length=150)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('list', 'user', 'name'), name='durable_objects_view_by_name')],
            },
        ),
    ]
