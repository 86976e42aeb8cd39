import Config

config :bc_gitops,
  repo_url: "@REPO@",
  local_path: "@DIR@/clone",
  workspace_path: "@DIR@/workspace",
  state_path: "@DIR@/state",
  reconcile_interval: 500
