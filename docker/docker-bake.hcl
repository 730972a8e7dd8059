# Builds the images from source and, with --push, puts them where ECS finds them:
#
#   docker buildx bake --file docker/docker-bake.hcl --push
#
# with REGISTRY in the environment: the registry and the prefix of the repositories, for example
# 123456789012.dkr.ecr.eu-west-1.amazonaws.com/eventstore-fargate, which infra looks in unless it is told otherwise.

variable "REGISTRY" {
  default = "eventstore-fargate"
}

# The version of the workspace.
variable "VERSION" {
  default = "0.1.0"
}

group "default" {
  targets = ["certgen", "bootstrap"]
}

# For clusters on one machine.
group "local" {
  targets = ["standin", "aws-double", "consumer"]
}

target "image" {
  name       = image
  matrix     = { image = ["certgen", "bootstrap", "standin", "aws-double", "consumer"] }
  context    = "."
  dockerfile = "docker/${image}.Dockerfile"
  platforms  = ["linux/amd64"]
  tags       = ["${REGISTRY}/${image}:${VERSION}"]
  labels     = { "org.opencontainers.image.version" = VERSION }
  attest     = ["type=sbom", "type=provenance,mode=max"]
}
