"""What a file itself says is weak: each class in forms of several systems, and beside it what is as it should be."""

import time

import pytest

from taskbound.posture.sighting import Place, Weakness
from taskbound.posture.signs import SIGNS
from taskbound.posture.signs.lifetimes import seconds
from tests.posture.whole import said


def told(path: str, text: str) -> list[Weakness]:
    data = text.encode()
    found = said(path, data)
    return [one for one in found if isinstance(one, Weakness)]


def cases(path: str, text: str) -> list[str]:
    return [one.case for one in told(path, text)]


OFF, ANY, OPEN, CLEAR = (
    "connection-without-tls",
    "certificate-not-verified",
    "service-without-authentication",
    "password-sent-in-clear",
)
SIGNED, PASSWORD, IMPLICIT, PKCE, QUERY = (
    "token-signature-not-verified",
    "password-grant",
    "implicit-flow",
    "pkce-not-required",
    "key-in-query-of-url",
)
STAR, OWNER, VAULT, ALL = (
    "iam-star-star",
    "owner-role-assigned",
    "vault-policy-all-paths",
    "database-login-with-all-rights",
)
WIDE, STATIC, LONG, ENDLESS = (
    "oidc-trust-too-wide",
    "static-cloud-key-in-pipeline",
    "lifetime-too-long",
    "credential-made-without-end",
)
SOCKET = "docker-socket-mounted"
SCOPES = "token-scopes-too-wide"
GRANT = "GRANT ALL PRIVILEGES ON *.* TO 'shop'@'%';"
JENKINS = "withCredentials([[$class: 'AmazonWebServicesCredentialsBinding', credentialsId: 'x']]) {\n"

WEAK: tuple[tuple[str, str, str], ...] = (
    # --- encryption ---------------------------------------------------------------------------------
    (OFF, "svc/config.yaml", "dsn: postgres://app@pg.corp.example:5432/pay?sslmode=disable\n"),
    (OFF, "svc/db.py", 'connect(host="pg.corp.example", sslmode="allow")\n'),
    (OFF, "k8s/api.yaml", "        - name: PGSSLMODE\n          value: disable\n"),
    (OFF, "app.properties", "spring.datasource.url=jdbc:mysql://my.corp.example/shop?useSSL=false&x=1\n"),
    (OFF, "appsettings.json", '{"Db": "Server=sql.corp.example,1433;Database=pay;Encrypt=False;User Id=app"}\n'),
    (OFF, "web.config", '<add connectionString="Data Source=sql.corp.example;Initial Catalog=x;Encrypt=no" />\n'),
    (OFF, "main.tf", 'provider "postgresql" {\n  host = "pg.corp.example"\n  sslmode = "disable"\n}\n'),
    (OFF, "client.properties", "bootstrap.servers=k1.corp.example:9092\nsecurity.protocol=SASL_PLAINTEXT\n"),
    (OFF, "orm.ts", "{ type: 'postgres', host: 'pg.corp.example', ssl: false }\n"),
    (OFF, "vault.hcl", 'listener "tcp" {\n  address = "0.0.0.0:8200"\n  tls_disable = 1\n}\n'),
    (OFF, "redis.tf", 'resource "aws_elasticache_replication_group" "a" {\n  transit_encryption_enabled = false\n}\n'),
    (OFF, "rds.tf", '  parameter {\n    name  = "rds.force_ssl"\n    value = "0"\n  }\n'),
    (OFF, "cache.tf", "  non_ssl_port_enabled = true\n"),
    (OFF, "msk.tf", '  client_broker = "TLS_PLAINTEXT"\n'),
    # --- certificates -------------------------------------------------------------------------------
    (ANY, "Dockerfile", "FROM node:22\nENV NODE_TLS_REJECT_UNAUTHORIZED=0\n"),
    (ANY, "src/client.ts", "new https.Agent({ rejectUnauthorized: false })\n"),
    (ANY, "src/client.py", "requests.get(url, verify=False)\n"),
    (ANY, "main.go", "&tls.Config{InsecureSkipVerify: true}\n"),
    (ANY, "prometheus.yml", "    tls_config:\n      insecure_skip_verify: true\n"),
    (ANY, ".npmrc", "strict-ssl=false\n"),
    (ANY, "deploy.sh", "export VAULT_SKIP_VERIFY=true\n"),
    (ANY, "deploy.sh", "kubectl --insecure-skip-tls-verify apply -f x.yaml\n"),
    (ANY, "play.yml", "- uri:\n    url: https://api.corp.example\n    validate_certs: no\n"),
    (ANY, "call.sh", 'curl -sk -H "Authorization: Bearer $T" https://api.corp.example/v1\n'),
    (ANY, "api.php", "curl_setopt($c, CURLOPT_SSL_VERIFYPEER, false);\n"),
    (ANY, "Api.cs", "ServerCertificateCustomValidationCallback = (a, b, c, d) => true\n"),
    (ANY, "lib.rb", "http.verify_mode = OpenSSL::SSL::VERIFY_NONE\n"),
    (ANY, "db.json", '{"url": "jdbc:sqlserver://sql.corp.example;encrypt=true;trustServerCertificate=true"}\n'),
    # --- doors --------------------------------------------------------------------------------------
    (OPEN, "postgres/pg_hba.conf", "host    all   all   0.0.0.0/0   trust\n"),
    (OPEN, "cluster.yaml", "spec:\n  postgresql:\n    pg_hba:\n      - hostssl app app samenet trust\n"),
    (OPEN, "k8s/pg.yaml", "- name: POSTGRES_HOST_AUTH_METHOD\n  value: trust\n"),
    (OPEN, "prod/compose.yaml", "environment:\n  - ALLOW_EMPTY_PASSWORD=yes\n"),
    (OPEN, "redis/redis.conf", "bind 0.0.0.0\nprotected-mode no\n"),
    (OPEN, "mongod.yaml", "security:\n  authorization: disabled\n"),
    (OPEN, "elasticsearch.yml", "xpack.security.enabled: false\n"),
    (OPEN, "chart/values.yaml", "redis:\n  auth:\n    enabled: false\n"),
    (OPEN, "mcp/start.sh", "mcp-gateway serve --no-auth --port 8080\n"),
    (OPEN, "k8s/inspector.yaml", "- name: DANGEROUSLY_OMIT_AUTH\n  value: 'true'\n"),
    (OPEN, "mosquitto.conf", "listener 1883\nallow_anonymous true\n"),
    (OPEN, "kubelet.yaml", "authentication:\n  anonymous:\n    enabled: true\n"),
    (OPEN, "fn.tf", 'resource "aws_lambda_function_url" "f" {\n  authorization_type = "NONE"\n}\n'),
    (CLEAR, "pg_hba.conf", "host all all 10.2.0.0/16 password\n"),
    (CLEAR, "conf/directory.yml", "url: ldap://dc1.corp.example:389\nbindDn: cn=app\nbindPassword: ${LDAP_PW}\n"),
    (CLEAR, "auth.properties", "ldap.provider=ldap://dc1.corp.example\nldap.user=app\nldap.password=Kx83hfQpLm\n"),
    (CLEAR, "who.py", 'c = ldap.initialize("ldap://dc1.corp.example")\nc.simple_bind_s(user, secret)\n'),
    (CLEAR, "find.sh", "ldapsearch -x -H ldap://dc1.corp.example -D cn=app -w $PW uid=rosa\n"),
    (CLEAR, "broker.json", '{"url": "mqtt://mq.corp.example:1883", "username": "dev", "password": "$MQ"}\n'),
    (CLEAR, "prod/mail.properties", "smtp.host=mx.corp.example\nsmtp.password=${P}\nmail.smtp.starttls.enable=false\n"),
    (CLEAR, "push.sh", "curl -u ci:$PW --upload-file a.zip http://repo.corp.example/up\n"),
    (CLEAR, "push.sh", "curl -u ci:$PW http://169.253.169.254/up\n"),
    (
        SOCKET,
        "units/helper.service",
        "ExecStart=/usr/bin/podman run -v /run/podman/podman.sock:/var/run/docker.sock x\n",
    ),
    (SOCKET, "bin/start.sh", "docker run -d \\\n  --volume /var/run/docker.sock:/var/run/docker.sock:ro shop/x\n"),
    (SOCKET, "bin/start.sh", "docker run --mount type=bind,source=/var/run/docker.sock,target=/s shop/x\n"),
    (SOCKET, "units/h.container", "[Container]\nVolume=/var/run/docker.sock:/var/run/docker.sock\n"),
    (SOCKET, "play.yml", "- docker_container:\n    volumes:\n      - /var/run/docker.sock:/var/run/docker.sock\n"),
    (CLEAR, "sync.yaml", "source: http://sync:${SYNC_PASSWORD}@files.corp.example/export\n"),
    # --- tokens -------------------------------------------------------------------------------------
    (SIGNED, "auth.js", "jwt.verify(t, key, { algorithms: ['none'] })\n"),
    (SIGNED, "auth.go", "tok, _, err := parser.ParseUnverified(raw, claims)\n"),
    (SIGNED, "auth.rb", "JWT.decode(token, nil, false)\n"),
    (SIGNED, "Auth.cs", "RequireSignedTokens = false,\n"),
    (SIGNED, "gateway.yaml", "jwt_verification: false\n"),
    (SIGNED, "k8s/api.yaml", "- name: SKIP_JWT_VERIFICATION\n  value: 'true'\n"),
    (PASSWORD, "sync.sh", "curl -d grant_type=password -d username=svc https://id.corp.example/token\n"),
    (PASSWORD, "client.py", 'data = {"grant_type": "password", "username": user}\n'),
    (PASSWORD, "hydra.yaml", "grant_types:\n  - authorization_code\n  - password\nname: x\n"),
    (PASSWORD, "pool.tf", 'explicit_auth_flows = ["ALLOW_USER_PASSWORD_AUTH"]\n'),
    (IMPLICIT, "login.ts", "const params = { response_type: 'id_token token' }\n"),
    (IMPLICIT, "pool.tf", 'allowed_oauth_flows = ["code", "implicit"]\n'),
    (IMPLICIT, "openapi.yaml", "type: oauth2\nflow: implicit\n"),
    (PKCE, "oidc.yaml", "require_pkce: false\n"),
    (PKCE, "hydra.yml", "oauth2:\n  pkce:\n    enforced: false\n"),
    (QUERY, "app.env", "FEED=https://feed.corp.example/v1/rates?api_key=${FEED_KEY}\n"),
    (QUERY, "hook.yaml", "url: https://hook.corp.example/in?access_token=Zk39sLqPxv\n"),
    # --- rights -------------------------------------------------------------------------------------
    (STAR, "stack.ts", "role.addManagedPolicy(ManagedPolicy.fromAwsManagedPolicyName('AdministratorAccess'))\n"),
    (
        STAR,
        "setup.sh",
        "aws iam attach-role-policy --role-name ci --policy-arn arn:aws:iam::aws:policy/AdministratorAccess\n",
    ),
    (STAR, "stack.py", 'iam.PolicyStatement(actions=["*"], resources=["*"])\n'),
    (STAR, "index.ts", "managedPolicyArns: [aws.iam.ManagedPolicy.AdministratorAccess],\n"),
    (OWNER, "setup.sh", 'az role assignment create --assignee $ID --role "Owner" --scope /subscriptions/$SUB\n'),
    (OWNER, "main.bicep", "scope: subscription()\nid: '8e3af657-a8ff-443c-a75c-2fe8c4bcb635'\n"),
    (OWNER, "setup.sh", 'gcloud projects add-iam-policy-binding p --member "serviceAccount:x" --role roles/editor\n'),
    (OWNER, "iam.py", 'Member(role="roles/owner", member=f"serviceAccount:{sa.email}")\n'),
    (VAULT, "policies/ci.hcl", 'path "*" {\n  capabilities = ["read", "list"]\n}\n'),
    (VAULT, "vault.tf", 'policy = <<EOT\npath "sys/policies/acl/*" {\n  capabilities = ["create", "update"]\n}\nEOT\n'),
    (VAULT, "policy.json", '{"path": {"*": {"capabilities": ["sudo"]}}}\n'),
    (ALL, "db/roles.sql", "CREATE ROLE agent LOGIN SUPERUSER;\n"),
    (ALL, "db/init.sql", GRANT + "\n"),
    (ALL, "redis/users.acl", "user agent on >x ~* &* +@all\n"),
    # --- trust --------------------------------------------------------------------------------------
    (WIDE, "stack.ts", "StringLike: { 'token.actions.githubusercontent.com:sub': 'repo:acme/*' }\n"),
    (WIDE, "live.tfvars", 'subjects = ["repo:acme/*:ref:refs/heads/main"]\n'),
    (WIDE, "params.json", '{"GitLabSub": "project_path:acme/*:ref_type:branch:ref:main"}\n'),
    (WIDE, "wif.sh", "gcloud iam workload-identity-pools providers create-oidc gh \\\n  --issuer-uri=https://x\n"),
    (
        WIDE,
        "sa.tf",
        'member = "principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/gh/*"\n',
    ),
    (WIDE, "vault.sh", "vault write auth/jwt/role/ci role_type=jwt user_claim=sub bound_audiences=x policies=ci\n"),
    # --- keys of clouds -----------------------------------------------------------------------------
    (STATIC, ".circleci/config.yml", "steps:\n  - run: aws configure set aws_secret_access_key $SECRET --profile x\n"),
    (STATIC, "bitbucket-pipelines.yml", "script:\n  - gcloud auth activate-service-account --key-file key.json\n"),
    (STATIC, ".github/workflows/d.yml", "  - run: az login --service-principal -u $ID -p $SECRET --tenant $T\n"),
    (STATIC, "Jenkinsfile", JENKINS),
    (STATIC, "Jenkinsfile", "environment {\n  AWS_SECRET_ACCESS_KEY = credentials('prod-secret')\n}\n"),
    (STATIC, ".drone.yml", "environment:\n  AWS_SECRET_ACCESS_KEY:\n    from_secret: aws_secret\n"),
    (STATIC, ".tekton/run.yaml", "- name: AWS_SECRET_ACCESS_KEY\n  valueFrom:\n    secretKeyRef: {name: a, key: b}\n"),
    (STATIC, ".circleci/config.yml", "- aws-cli/setup:\n    aws_secret_access_key: AWS_SECRET_PROD\n"),
    # --- lifetimes ----------------------------------------------------------------------------------
    (LONG, "token.js", "jwt.sign(payload, key, { expiresIn: '365d' })\n"),
    (LONG, "settings.py", "ACCESS_TOKEN_EXPIRE_MINUTES = 60 * 24 * 365\n"),
    (LONG, "auth.py", 'claims = {"exp": now + timedelta(days=3650)}\n'),
    (LONG, "token.go", "ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour * 24 * 365))\n"),
    (LONG, "app.tf", 'resource "azuread_application_password" "p" {\n  end_date_relative = "43800h"\n}\n'),
    (LONG, "role.tf", "  token_max_ttl = 31536000\n"),
    (LONG, "pod.yaml", "- serviceAccountToken:\n    expirationSeconds: 31536000\n"),
    (LONG, "hydra.yaml", "access_token_ttl: 8760h\n"),
    (LONG, "mk.sh", "kubectl -n ci create token deployer --duration=8760h\n"),
    (LONG, "mk.sh", "az ad sp create-for-rbac --name ci --years 10\n"),
    (LONG, "as.properties", "access-token-time-to-live=PT1H\nauth.token.validity=P2Y\n"),
    (ENDLESS, "mk.sh", "vault write auth/approle/role/feed secret_id_ttl=0 token_ttl=1h\n"),
    (ENDLESS, "sa.tf", 'resource "google_service_account_key" "k" {\n  service_account_id = "x"\n}\n'),
    (ENDLESS, "cfn.yaml", "Resources:\n  Key:\n    Type: AWS::IAM::AccessKey\n"),
    (ENDLESS, "mk.sh", "gcloud iam service-accounts keys create key.json --iam-account x\n"),
    (ENDLESS, "app.yaml", "api_token_ttl: never\n"),
    # --- more ways to say the same ------------------------------------------------------------------
    (OFF, "client.go", 'c, err := grpc.Dial("api.corp.example:443", grpc.WithInsecure())\n'),
    (OFF, "client.py", "channel = grpc.insecure_channel('api.corp.example:50051')\n"),
    (OFF, "agent.env", "VAULT_ADDR=http://vault.corp.example:8200\n"),
    (ANY, "Dockerfile", "FROM node:22\nRUN npm config set strict-ssl false\n"),
    (ANY, "otel.yaml", "otlp:\n  endpoint: otel.corp.example:4317\n  tls:\n    insecure: true\n"),
    (ANY, "main.tf", 'provider "p" {\n  endpoint = "https://p.corp.example"\n  insecure = true\n}\n'),
    (ANY, "site.conf", "proxy_pass https://up.corp.example;\nproxy_ssl_verify off;\n"),
    (ANY, "haproxy.cfg", "server s1 10.0.0.5:443 ssl verify none\n"),
    (ANY, "httpd.conf", "SSLProxyVerify none\n"),
    (ANY, "get.py", "aiohttp.TCPConnector(ssl=False)\n"),
    (ANY, "copy.py", "client.set_missing_host_key_policy(paramiko.AutoAddPolicy())\n"),
    (ANY, "deploy.sh", "ssh -o StrictHostKeyChecking=no deploy@web.corp.example ./go\n"),
    (ANY, "deploy.sh", "ssh -o StrictHostKeyChecking=no deploy@web ./restart --from localhost\n"),
    (ANY, "ansible.cfg", "[defaults]\nhost_key_checking = False\n"),
    (ANY, "Trust.java", "public void checkServerTrusted(X509Certificate[] chain, String type) {}\n"),
    (ANY, "Get.java", "connection.setHostnameVerifier((name, session) -> true);\n"),
    (ANY, "get.js", "new Agent({ checkServerIdentity: () => undefined })\n"),
    (ANY, "get.ps1", "Invoke-RestMethod -Uri https://api.corp.example -SkipCertificateCheck -Headers $h\n"),
    (ANY, "get.sh", "wget --no-check-certificate --header='Authorization: Bearer x' https://api.corp.example/x\n"),
    (OPEN, "app.env", "REDIS_URL=redis://cache.corp.example:6379/0\n"),
    (OPEN, "app.yaml", "mongo: mongodb://m1.corp.example:27017/orders\n"),
    (OPEN, "run.tf", '  role   = "roles/run.invoker"\n  member = "allUsers"\n'),
    (OPEN, "sshd_config", "PermitEmptyPasswords yes\n"),
    (OPEN, "kube.yaml", "- --authorization-mode=AlwaysAllow\n"),
    (OPEN, "consul.hcl", "acl {\n  enabled = false\n}\n"),
    (OPEN, "superset_config.py", "AUTH_ROLE_PUBLIC = 'Admin'\n"),
    (OPEN, "grafana.ini", "[auth.anonymous]\nenabled = true\norg_role = Admin\n"),
    (OPEN, "users.xml", "<users><default><password></password></default></users>\n"),
    (OPEN, "init.sql", "CREATE USER 'app'@'%' IDENTIFIED BY '';\n"),
    (OPEN, "traefik.yml", "api:\n  insecure: true\n"),
    (OPEN, "serve.py", "from fastmcp import FastMCP\nmcp = FastMCP('a')\nmcp.run(host='0.0.0.0', port=8000)\n"),
    (SIGNED, "Auth.java", "Jwts.parser().unsecured().build().parse(token)\n"),
    (SIGNED, "auth.go", "tok, err := jwt.ParseInsecure(buf)\n"),
    (LONG, "auth.go", "ExpiresAt: jwt.NewNumericDate(time.Now().AddDate(10, 0, 0))\n"),
    (LONG, "auth.rb", "payload = { exp: 10.years.from_now.to_i }\n"),
    (LONG, "app.yml", "jwt:\n  secret: ${S}\n  expiration: 31536000000\n"),
    (LONG, "cert.yaml", "kind: Certificate\nspec:\n  duration: 87600h\n"),
    (LONG, "share.sh", "az storage container generate-sas --name b --permissions r --expiry 2036-01-01\n"),
    (ENDLESS, "config/sanctum.php", "return [\n    'expiration' => null,\n];\n"),
    (ALL, "grant.sql", "GRANT ACCOUNTADMIN TO USER SVC_LOADER;\n"),
    (ALL, "grant.sql", "GRANT ROLE SECURITYADMIN TO USER SVC_LOADER;\n"),
    (ALL, "users.js", 'db.createUser({user: "agent", roles: [{role: "root", db: "admin"}]})\n'),
    (ALL, "atlas.tf", 'database_name = "admin"\nrole_name = "atlasAdmin"\n'),
    (ALL, "acl.sh", "kafka-acls.sh --add --allow-principal User:agent --operation All --topic '*'\n"),
    (ALL, "roles.yml", "agent:\n  cluster: ['all']\n  indices:\n  - names: ['*']\n"),
    (OWNER, "argocd.yaml", "policy.csv: |\n  p, role:agent, *, *, */*, allow\n"),
    (OPEN, "users.acl", "user default on nopass ~* &* +@all\n"),
    (WIDE, "entra.tf", 'subject = "repo:acme/app:pull_request"\n'),
    (STATIC, "cloudbuild.yaml", "args: ['auth', 'activate-service-account', '--key-file=key.json']\n"),
    (STATIC, "Jenkinsfile", "string(credentialsId: 'x', variable: 'AWS_SECRET_ACCESS_KEY')\n"),
    (SCOPES, "share.env", "SAS=sv=2022-11-02&ss=bfqt&srt=sco&sp=rwdlacup&se=2026-12-01\n"),
    (SCOPES, "share.sh", "az storage account generate-sas --services bfqt --resource-types sco --permissions rwdl\n"),
)

SOUND: tuple[tuple[str, str], ...] = (
    ("conf/directory.yml", "url: ldaps://dc1.corp.example\nbindPassword: ${LDAP_PW}\n"),
    ("conf/directory.yml", "url: ldap://dc1.corp.example\nstart_tls: true\nbindPassword: ${LDAP_PW}\n"),
    ("conf/directory.yml", "url: ldap://localhost:389\nbindPassword: ${LDAP_PW}\n"),
    ("conf/directory.yml", "url: ldap://dc1.corp.example\nbase: dc=corp\n\npassword: ${OTHER}\n"),
    ("conf/directory.yml", "url: ldap://openldap:389\nbindPassword: ${LDAP_PW}\n"),
    ("conf/directory.yml", "url: ldap://dc1.corp.example\nbindPassword: ''\n"),
    ("find.sh", "ldapsearch -x -ZZ -H ldap://dc1.corp.example -D cn=app -w $PW\n"),
    ("who.py", 'c = ldap.initialize("ldap://dc1.corp.example")\nc.start_tls_s()\nc.simple_bind_s(user, secret)\n'),
    ("prod/mail.properties", "smtp.host=mx.corp.example\nsmtp.password=${P}\nmail.smtp.starttls.enable=true\n"),
    ("push.sh", "curl http://repo.corp.example/health\n"),
    ("push.sh", "curl -u ci:$PW http://localhost:8080/up\n"),
    ("zone.sh", 'curl -H "X-aws-ec2-metadata-token: $T" http://169.254.169.254/latest/meta-data/placement/zone\n'),
    ("task.sh", 'curl -H "Authorization: $AWS_CONTAINER_AUTHORIZATION_TOKEN" http://169.254.170.2/v2/credentials\n'),
    ("zone.sh", 'curl -H "X-Token: $T" http://metadata.google.internal/computeMetadata/v1/instance/zone\n'),
    ("bin/start.sh", "docker -H unix:///var/run/docker.sock ps\nexport DOCKER_HOST=unix:///var/run/docker.sock\n"),
    ("bin/start.sh", "test -S /var/run/docker.sock && echo here\n"),
    ("svc/config.yaml", "dsn: postgres://app@pg.corp.example:5432/pay?sslmode=verify-full\n"),
    ("compose.yaml", "DATABASE_URL: postgres://app:x@db:5432/app?sslmode=disable\n"),
    ("svc/dev.yaml", "dsn: postgres://app@localhost/pay?sslmode=disable\n"),
    ("README.md", "never use sslmode=disable against pg.corp.example\n"),
    ("svc/db.conf", "# host=pg.corp.example sslmode=disable\n"),
    (".env.example", "DATABASE_URL=postgres://app@pg.corp.example/x?sslmode=disable\n"),
    ("tests/client.py", "requests.get(url, verify=False)\n"),
    ("src/client.py", "requests.get(url, verify=CA_FILE)\n"),
    ("backend.tf", 'backend "s3" {\n  bucket = "x"\n  encrypt = false\n}\n'),
    ("ingress.yaml", "ingress:\n  tls:\n    enabled: false\n"),
    ("main.go", "&tls.Config{InsecureSkipVerify: false}\n"),
    ("call.sh", "curl -sk https://localhost:8443/healthz\n"),
    (
        "pg_hba.conf",
        "local all postgres peer\nhost all all 127.0.0.1/32 trust\nhostssl all all 10.0.0.0/8 scram-sha-256\n",
    ),
    (".github/workflows/ci.yml", "services:\n  pg:\n    env:\n      POSTGRES_HOST_AUTH_METHOD: trust\n"),
    ("mongod.yaml", "security:\n  authorization: enabled\n"),
    ("chart/values.yaml", "redis:\n  auth:\n    enabled: true\n"),
    ("auth.js", "jwt.verify(t, key, { algorithms: ['ES256'] })\n"),
    ("auth.py", 'iss = jwt.decode(t, options={"verify_signature": False})["iss"]\n'),
    ("hydra.yaml", "grant_types:\n  - authorization_code\n  - refresh_token\npassword: x\n"),
    ("login.ts", "const params = { response_type: 'code' }\n"),
    ("oidc.yaml", "require_pkce: true\n"),
    ("app.env", "FEED=https://feed.corp.example/v1/rates?page=2\n"),
    ("setup.sh", "aws iam attach-role-policy --policy-arn arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess\n"),
    ("scp.json", '{"ArnEquals": {"iam:PolicyARN": "arn:aws:iam::aws:policy/AdministratorAccess"}}\n'),
    ("setup.sh", "az role assignment create --role Reader --scope /subscriptions/$SUB\n"),
    (
        "policies/ci.hcl",
        'path "kv/data/ci/*" {\n  capabilities = ["read"]\n}\npath "sys/*" {\n  capabilities = ["deny"]\n}\n',
    ),
    ("db/roles.sql", "CREATE ROLE app LOGIN NOSUPERUSER;\nGRANT ALL ON shop.* TO app;\n"),
    ("stack.ts", "StringLike: { 'token.actions.githubusercontent.com:sub': 'repo:acme/shop:*' }\n"),
    ("wif.sh", "gcloud iam workload-identity-pools providers create-oidc gh \\\n  --attribute-condition=x\n"),
    ("vault.sh", "vault write auth/jwt/role/ci bound_audiences=x bound_claims=@c.json user_claim=sub\n"),
    (".gitlab-ci.yml", "script:\n  - docker login -u $CI_REGISTRY_USER -p $CI_REGISTRY_PASSWORD $CI_REGISTRY\n"),
    (
        ".gitlab-ci.yml",
        "script:\n  - aws configure set aws_secret_access_key $S\n  - aws configure set aws_session_token $T\n",
    ),
    (".github/workflows/d.yml", "  - run: az login --service-principal -u $ID --federated-token $T --tenant $X\n"),
    ("token.js", "jwt.sign(payload, key, { expiresIn: '15m' })\n"),
    ("token.js", "const jwtExpiration = 3600000\n"),
    ("settings.py", "ACCESS_TOKEN_EXPIRE_MINUTES = 60\n"),
    ("role.tf", "  token_ttl     = 3600\n  secret_id_ttl = 600\n"),
    ("refresh.yaml", "refresh_token_ttl: 720h\n"),
    ("ca.tf", "  is_ca_certificate     = true\n  validity_period_hours = 87600\n"),
    ("cache.py", "cache.set(key, value, timedelta(days=365))\n"),
    # Only for who asks for it: a condition around it says so, at whatever distance.
    ("client.go", "func dial() {\n\tif opts.InsecureSkipTLSVerify {\n\t\tc.InsecureSkipVerify = true\n\t}\n}\n"),
    ("client.go", "\tif ptr.Deref(skipTLSVerify, false) {\n\t\treturn nil\n\t}\n"),
    (
        "client.py",
        "def wrap(verify):\n    if verify:\n        load()\n    else:\n        c.verify_mode = ssl.CERT_NONE\n",
    ),
    (
        "client.py",
        "    if (\n        pinned\n        or assert_hostname is False\n    ):\n        c.check_hostname = False\n",
    ),
    ("client.go", "func (c *C) SetInsecureSkipVerify(on bool) {\n\tc.InsecureSkipVerify = true\n}\n"),
    (
        "curl.py",
        "    if self.validate_cert:\n        x()\n    else:\n        c.setopt(pycurl.CURLOPT_SSL_VERIFYPEER, 0)\n",
    ),
    ("client.rb", "host.verify_mode = ssl_verify ? SSL::VERIFY_PEER : SSL::VERIFY_NONE\n"),
    ("chart/templates/sm.yaml", "  {{- if .Values.insecureSkipVerify }}\n  insecureSkipVerify: true\n  {{- end }}\n"),
    ("client.py", "names = {\n    ssl.CERT_NONE: SSL.VERIFY_NONE,\n}\nok = mode != ssl.CERT_NONE\n"),
    ("settings.json", '{"SkipServerCertificateVerification": false}\n'),
    ("values.yaml", "smtp:\n  server: smtp.corp.example\n  enable_starttls: auto\n  tls: false\n"),
    ("database.php", "'host' => env('DB_HOST', '127.0.0.1'),\n'sslmode' => 'prefer',\n"),
    ("verify.rb", 'redirect_to "http://localhost:#{port}?code=#{request.otp}"\n'),
    ("feed.rb", "Use `ftp://username:password@ftp.corp.example/path`.\n"),
    ("mail.js", "const link = `https://shop.corp.example/reset-password?token=${token}`\n"),
    ("api/client.py", "def connect(self, auth_strategy=None, api_server=None):\n"),
    (
        "api/client.py",
        'def connect(self):\n    """Connect.\n\n    ``auth="none"`` connects to the server as nobody.\n    """\n',
    ),
    ("jwt.py", "def decode(token, algorithms=None, access_token=None):\n"),
    ("api/server.js", 'log.info("auth", "Disabled Auth: auto login to server")\n'),
    ("none.go", 'const UnsafeAllowNoneSignatureType magic = "none"\n'),
    ("Checkout.cs", "CardExpiration = DateTime.UtcNow.AddYears(5), // token of the card\n"),
    ("plpgsql.control", "comment = 'PL/pgSQL'\nsuperuser = true\n"),
    ("ssl.pyi", "def _create_unverified_context(protocol: int | None = None) -> SSLContext: ...\n"),
    ("use.py", 'if not getattr(context, "check_hostname", False):\n    match(context)\n'),
    # --- twins of more ways -------------------------------------------------------------------------
    ("client.go", 'c, err := grpc.Dial("localhost:443", grpc.WithInsecure())\n'),
    ("client.go", 'c, err := grpc.Dial("api.corp.example:443", grpc.WithTransportCredentials(creds))\n'),
    ("agent.env", "VAULT_ADDR=http://127.0.0.1:8200\n"),
    ("agent.env", "VAULT_ADDR=https://vault.corp.example:8200\n"),
    ("flags.yaml", "insecure: true\n"),
    ("otel.yaml", "otlp:\n  endpoint: collector:4317\n  tls:\n    insecure: true\n"),
    ("site.conf", "proxy_pass https://up.corp.example;\nproxy_ssl_verify on;\n"),
    ("haproxy.cfg", "server s1 10.0.0.5:443 ssl verify required\n"),
    ("get.py", "aiohttp.TCPConnector(ssl=context)\n"),
    ("copy.py", "client.set_missing_host_key_policy(paramiko.RejectPolicy())\n"),
    ("deploy.sh", "ssh -o StrictHostKeyChecking=yes deploy@web.corp.example ./go\n"),
    ("selftest.sh", "ssh -p 2222 -o StrictHostKeyChecking=no git@localhost info\n"),
    ("selftest.sh", "ssh -o StrictHostKeyChecking=no git@127.0.0.1 info\n"),
    ("Trust.java", "public void checkServerTrusted(X509Certificate[] chain, String type) { check(chain); }\n"),
    ("get.js", "new Agent({ checkServerIdentity: (host, cert) => check(host, cert) })\n"),
    ("get.sh", "wget --no-check-certificate https://pub.corp.example/x\n"),
    ("app.env", "REDIS_URL=redis://redis:6379/0\n"),
    ("app.env", "REDIS_URL=redis://cache.corp.example:6379/0\nREDIS_PASSWORD=${P}\n"),
    ("app.env", "REDIS_URL=rediss://cache.corp.example:6379/0\n"),
    ("app.env", "REDIS_URL=redis://your-host.example.com:6379/0\n"),
    ("run.tf", '  role   = "roles/storage.objectViewer"\n  member = "allUsers"\n'),
    ("sshd_config", "PermitEmptyPasswords no\n"),
    ("kube.yaml", "- --authorization-mode=Node,RBAC\n"),
    ("consul.hcl", "acl {\n  enabled = true\n}\n"),
    ("superset_config.py", "AUTH_ROLE_PUBLIC = 'Public'\n"),
    ("grafana.ini", "[auth.anonymous]\nenabled = true\norg_role = Viewer\n"),
    ("form.xml", "<form><password></password></form>\n"),
    ("init.sql", "CREATE USER 'app'@'localhost' IDENTIFIED BY '';\n"),
    ("traefik.yml", "api:\n  insecure: false\n"),
    ("serve.py", "from fastmcp import FastMCP\nmcp = FastMCP('a', auth=x)\nmcp.run(host='0.0.0.0', port=8000)\n"),
    ("serve.py", "from flask import Flask\napp.run(host='0.0.0.0')\n"),
    ("auth.go", "cutoff := time.Now().AddDate(10, 0, 0)\n"),
    ("auth.go", "ExpiresAt: jwt.NewNumericDate(time.Now().AddDate(0, 0, 1))\n"),
    ("app.yml", "jwt:\n  secret: ${S}\n  expiration: 3600\n"),
    ("app.yml", "cache:\n  expiration: 31536000000\n"),
    ("cert.yaml", "kind: Certificate\nspec:\n  isCA: true\n  duration: 87600h\n"),
    ("cert.yaml", "kind: Certificate\nspec:\n  duration: 2160h\n"),
    ("share.sh", "az storage container generate-sas --name b --permissions r --expiry 2027-01-01\n"),
    ("config/cache.php", "return [\n    'ttl' => null,\n];\n"),
    ("grant.sql", "GRANT ROLE SYSADMIN TO ROLE ACCOUNTADMIN;\n"),
    ("grant.sql", "REVOKE DBA FROM APP;\n"),
    ("page.tsx", "{role: 'root', title: 'x'}\n"),
    ("users.js", 'db.createUser({user: "agent", roles: [{role: "read", db: "shop"}]})\n'),
    ("acl.sh", "kafka-acls.sh --add --allow-principal User:agent --operation Read --topic orders\n"),
    ("roles.yml", "agent:\n  cluster: ['monitor']\n  indices:\n  - names: ['*']\n"),
    ("argocd.yaml", "policy.csv: |\n  p, role:admin, *, *, */*, allow\n  p, role:dev, applications, *, dev/*, allow\n"),
    ("users.acl", "user default off nopass ~* &* +@all\n"),
    ("entra.tf", 'subject = "repo:acme/app:environment:production"\n'),
    ("Jenkinsfile", "string(credentialsId: 'x', variable: 'REGION')\n"),
    ("share.env", "SAS=sv=2022-11-02&ss=b&srt=o&sp=r&se=2026-12-01\n"),
)

# The same, where no condition speaks of it, or it speaks of something else.
WEAK_ALL_THE_SAME: tuple[tuple[str, str, str], ...] = (
    (ANY, "client.go", "func dial() {\n\tif opts.UseTLS {\n\t\tc.InsecureSkipVerify = true\n\t}\n}\n"),
    (ANY, "client.go", "func dial() {\n\tif opts.SkipVerify {\n\t\tlog()\n\t}\n\tc.InsecureSkipVerify = true\n}\n"),
    (ANY, "client.go", "func (c *C) Dial(verify bool) {\n\tc.InsecureSkipVerify = true\n}\n"),
    (ANY, "client.py", "def wrap(tls):\n    if tls:\n        c.verify_mode = ssl.CERT_NONE\n"),
    (ANY, "client.py", "def wrap(verify):\n    c = make(verify)\n    c.check_hostname = False\n"),
    (ANY, "client.py", "pool = PoolManager(cert_reqs='CERT_NONE')\n"),
    (ANY, "client.rb", "host.verify_mode = SSL::VERIFY_NONE\n"),
    (
        ANY,
        "chart/templates/sm.yaml",
        "  {{- if .Values.skipVerify }}\n  x: 1\n  {{- end }}\n  insecureSkipVerify: true\n",
    ),
    (ANY, "settings.json", '{"ServerCertificateVerification": false}\n'),
    (OFF, "values.yaml", "smtp:\n  server: smtp.corp.example\n  enable_starttls: never\n  tls: false\n"),
    (OFF, "database.php", "'host' => env('DB_HOST', 'pg.corp.example'),\n'sslmode' => 'prefer',\n"),
    (CLEAR, "feed.rb", "http://ci:#{password}@feed.corp.example/v1\n"),
    (CLEAR, "feed.rb", "url = 'ftp://ci:Vt9xQ2mLr7@ftp.corp.example/path'\n"),
    (QUERY, "mail.js", "const url = `https://feed.corp.example/v1/rates?token=${token}`\n"),
    (OPEN, "api/client.py", 'server = Server(auth="none")\n'),
    (OPEN, "api/client.py", 'config = """\nserver:\n  auth: none\n"""\n'),
    (SIGNED, "jwt.py", 'jwt.decode(token, key, algorithms=["none"])\n'),
    (SIGNED, "use.go", "return jwt.UnsafeAllowNoneSignatureType, nil\n"),
    (LONG, "Token.cs", "Expires = DateTime.UtcNow.AddYears(5), // token of the user\n"),
)


@pytest.mark.parametrize(("case", "path", "text"), WEAK, ids=[f"{case}-{n}" for n, (case, _, _) in enumerate(WEAK)])
def test_what_is_weak_is_told(case: str, path: str, text: str) -> None:
    assert case in cases(path, text)


@pytest.mark.parametrize(("case", "path", "text"), WEAK_ALL_THE_SAME)
def test_what_is_weak_all_the_same_is_told(case: str, path: str, text: str) -> None:
    assert case in cases(path, text)


@pytest.mark.parametrize(("path", "text"), SOUND, ids=[f"{path}-{n}" for n, (path, _) in enumerate(SOUND)])
def test_what_is_sound_is_not(path: str, text: str) -> None:
    assert cases(path, text) == []


def test_what_one_line_says_in_two_ways_is_said_once() -> None:
    assert cases("db.yml", "url: jdbc:postgresql://pg.corp.example/pay?ssl=false&sslmode=disable\n") == [OFF]


def test_the_line_is_the_one_that_says_it():
    (one,) = told("k8s/api.yaml", "env:\n- name: PGSSLMODE\n  value: disable\n- name: X\n  value: y\n")
    assert one.place == Place("k8s/api.yaml", 3)


def test_the_same_twice_in_a_file_is_of_one_subject():
    found = told("a.py", "get(u, verify=False)\n\n\n\nget(v, verify=False)\n")
    assert [one.place.line for one in found] == [1, 5]
    assert len({one.subject for one in found}) == 1


def test_what_a_reader_has_told_is_not_told_again():
    data = b'role = "arn:aws:iam::aws:policy/AdministratorAccess"\n'
    known = Weakness("iam-star-star", "x", Place("a.tf", 1), "x")
    assert said("a.tf", data, known) == ()


def test_each_anchor_lies_in_its_expression():
    """Where hyperscan finds nothing the expression is never asked: each needs a text above that finds it."""
    tried = "\n".join(text for _, _, text in WEAK)
    unseen = [one.expression for one in SIGNS if not one.compiled.search(tried)]
    assert len(unseen) <= len(SIGNS) // 2


@pytest.mark.parametrize(
    ("name", "value", "length"),
    [
        ("token_ttl", "8760h", 31_536_000),
        ("token_expire_minutes", "60 * 24", 86_400),
        ("access_token_lifetime_days", "2", 172_800),
        ("jwt_expiration", "31536000", 31_536_000),
        ("jwt_expiration", "3600000", 0),
        ("jwt.expiration", "31536000000000", 31_536_000_000),
        ("validity", "P1Y", 31_536_000),
        ("life", "timedelta(days=30", 2_592_000),
        ("life", "soon", 0),
    ],
)
def test_what_a_value_means_in_seconds(name: str, value: str, length: float) -> None:
    assert seconds(name, value) == length


@pytest.mark.parametrize(
    "text", ["curl ", "jwt.decode(", "grant_types: [", "az login ", "token_ttl=", "a.b_ssl=", "x trust\n"]
)
def test_what_is_dense_costs_little(text: str) -> None:
    """The bound is 50 ms for each KiB; here it is 64 KiB, and a hundredth of that."""
    begin = time.process_time()
    told(".gitlab-ci.yml", text * (65_536 // len(text)))
    assert time.process_time() - begin < 1.6
