// The article's set-up in the AWS CDK, as an equivalent of examples/article.toml: COPIES times, each in two stacks.
// Where it writes is CDK_OUTDIR, as with `cdk synth`.
'use strict';
const cdk = require('aws-cdk-lib');
const ec2 = require('aws-cdk-lib/aws-ec2');
const ecs = require('aws-cdk-lib/aws-ecs');
const efs = require('aws-cdk-lib/aws-efs');
const events = require('aws-cdk-lib/aws-events');
const logs = require('aws-cdk-lib/aws-logs');
const backup = require('aws-cdk-lib/aws-backup');
const secrets = require('aws-cdk-lib/aws-secretsmanager');
const discovery = require('aws-cdk-lib/aws-servicediscovery');

const app = new cdk.App();

class Stateful extends cdk.Stack {
  constructor(scope, id) {
    super(scope, id);
    this.vpc = new ec2.Vpc(this, 'Vpc', { ipAddresses: ec2.IpAddresses.cidr('10.42.0.0/16'), maxAzs: 2, natGateways: 1 });
    this.fileSystem = new efs.FileSystem(this, 'FileSystem', {
      vpc: this.vpc,
      fileSystemName: 'eventstore',
      encrypted: true,
      performanceMode: efs.PerformanceMode.GENERAL_PURPOSE,
      throughputMode: efs.ThroughputMode.BURSTING,
      lifecyclePolicy: efs.LifecyclePolicy.AFTER_14_DAYS,
      removalPolicy: cdk.RemovalPolicy.RETAIN,
    });
    this.points = ['data', 'logs'].map((purpose) => this.fileSystem.addAccessPoint(purpose, {
      path: `/node-1/${purpose}`,
      posixUser: { uid: '1000', gid: '1000' },
      createAcl: { ownerUid: '1000', ownerGid: '1000', permissions: '0700' },
    }));
    const plan = new backup.BackupPlan(this, 'Plan', { backupVault: new backup.BackupVault(this, 'Vault') });
    plan.addRule(new backup.BackupPlanRule({
      scheduleExpression: events.Schedule.cron({ hour: '2', minute: '0' }),
      startWindow: cdk.Duration.hours(1),
      completionWindow: cdk.Duration.hours(2),
      deleteAfter: cdk.Duration.days(35),
    }));
    plan.addSelection('Selection', { resources: [backup.BackupResource.fromEfsFileSystem(this.fileSystem)] });
    this.secrets = ['admin', 'ops', 'consumer', 'ca'].map((login) => new secrets.Secret(this, login, {
      secretName: `${id}/${login}`,
      removalPolicy: cdk.RemovalPolicy.RETAIN,
      generateSecretString: {
        secretStringTemplate: JSON.stringify({ username: login }), generateStringKey: 'password', passwordLength: 40,
      },
    }));
  }
}

class EventStore extends cdk.Stack {
  constructor(scope, id, stateful) {
    super(scope, id);
    const cluster = new ecs.Cluster(this, 'Cluster', { vpc: stateful.vpc });
    const namespace = new discovery.PrivateDnsNamespace(this, 'Namespace', { name: `${id}.internal`, vpc: stateful.vpc });
    namespace.createService('Clients', { name: 'article' });
    const task = new ecs.FargateTaskDefinition(this, 'Task', { cpu: 1024, memoryLimitMiB: 4096 });
    for (const name of ['certs', 'tmp', 'run']) task.addVolume({ name });
    ['data', 'logs'].forEach((name, index) => task.addVolume({
      name,
      efsVolumeConfiguration: {
        fileSystemId: stateful.fileSystem.fileSystemId,
        transitEncryption: 'ENABLED',
        authorizationConfig: { accessPointId: stateful.points[index].accessPointId, iam: 'ENABLED' },
      },
    }));
    const container = (name, image, more) => task.addContainer(name, {
      image: ecs.ContainerImage.fromRegistry(image),
      logging: ecs.LogDriver.awsLogs({
        streamPrefix: 'task', logGroup: new logs.LogGroup(this, `${name}Logs`, { retention: logs.RetentionDays.ONE_MONTH }),
      }),
      ...more,
    });
    const certgen = container('certgen', 'r/certgen:1', { essential: false });
    const database = container('eventstore', 'eventstore/eventstore:23.10.6-bookworm-slim', {
      user: '1000',
      portMappings: [{ containerPort: 2113 }, { containerPort: 1113 }],
      environment: { EVENTSTORE_RUN_PROJECTIONS: 'All', EVENTSTORE_CLUSTER_SIZE: '1' },
      secrets: {
        EVENTSTORE_DEFAULT_ADMIN_PASSWORD: ecs.Secret.fromSecretsManager(stateful.secrets[0], 'password'),
        EVENTSTORE_DEFAULT_OPS_PASSWORD: ecs.Secret.fromSecretsManager(stateful.secrets[1], 'password'),
      },
    });
    const sidecar = container('bootstrap', 'r/bootstrap:1', {});
    database.addContainerDependencies({ container: certgen, condition: ecs.ContainerDependencyCondition.SUCCESS });
    sidecar.addContainerDependencies({ container: database, condition: ecs.ContainerDependencyCondition.START });
    database.addMountPoints(
      { sourceVolume: 'data', containerPath: '/var/lib/eventstore', readOnly: false },
      { sourceVolume: 'logs', containerPath: '/var/log/eventstore', readOnly: false },
      { sourceVolume: 'certs', containerPath: '/certs', readOnly: true },
    );
    for (const secret of stateful.secrets) secret.grantRead(task.taskRole);
    const service = new ecs.FargateService(this, 'Service', {
      cluster,
      taskDefinition: task,
      desiredCount: 1,
      minHealthyPercent: 0,
      maxHealthyPercent: 100,
      availabilityZoneRebalancing: ecs.AvailabilityZoneRebalancing.DISABLED,
      circuitBreaker: { rollback: true },
      platformVersion: ecs.FargatePlatformVersion.VERSION1_4,
      cloudMapOptions: { cloudMapNamespace: namespace, name: 'article-node-1' },
    });
    service.connections.allowTo(stateful.fileSystem, ec2.Port.tcp(2049));
    stateful.fileSystem.grantReadWrite(task.taskRole);
  }
}

for (let copy = 0; copy < Number(process.env.COPIES ?? 1); copy += 1) {
  const stateful = new Stateful(app, `a${copy}-StatefulResources`);
  new EventStore(app, `a${copy}-EventStore`, stateful);
}
app.synth();
