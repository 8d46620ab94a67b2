// The paths of SAC's Data Export Service, served by SAP CAP: a model called CAP with facts and members.

@path: '/api/v1/dataexport/administration'
service Administration {
  @readonly entity Namespaces {
    key NamespaceID : String;
    Description     : String;
    Providers       : Association to many Providers on Providers.NamespaceID = $self.NamespaceID;
  }
  @readonly entity Providers {
    key ProviderID  : String;
    key NamespaceID : String;
    ProviderName    : String;
    Description     : String;
    ServiceURL      : String;
  }
}

@path: '/api/v1/dataexport/providers/sac/CAP'
@cds.query.limit: 500
service sac {
  @readonly entity FactData {
    key Version : String(256);
    key Date    : String(6);
    key Region  : String(256);
    key Product : String(20);
    Amount      : Decimal(15, 4);
    Quantity    : Integer;
    Note        : String(100);
    Flag        : Boolean;
    Day         : Date;
  }
  @readonly entity RegionMaster { key ID : String(256); Description : String(256); }
  @readonly entity ProductMaster { key ID : String(20); Description : String(256); }
}
